"""``anomalies``: deviations that the analysis found, from the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from starlette.requests import Request

from jobmon.anomaly import SEVERITIES, Severity
from jobmon.answers.anomalies import Anomalies, Baseline, Incident
from jobmon.history.found import AnomalyRow
from jobmon.history.read import HistoryReader
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.periods import DAYS, DAYS_TEXT, period
from jobmon.server.query import NAME, Paged, one_of, parameter
from jobmon.server.responses import instant, timestamp
from jobmon.settings import Settings

_FILTERS: Final = ("command", "severity", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomaliesQuery(Paged):
    """Parameters of ``anomalies``."""

    command: str | None = parameter(NAME, "Of this command alone.")
    severity: str | None = parameter(one_of(*SEVERITIES), "Of this severity alone.")
    state: str | None = parameter(one_of("open", "resolved"), "Of this state alone.")
    days: int = parameter(DAYS, DAYS_TEXT, 30)


class Deviations:
    """Handler of ``anomalies``."""

    def __init__(self, history: HistoryReader, migration: Migration, settings: Settings) -> None:
        self._history = history
        self._migration = migration
        self._public_url = settings.public_url

    def all(self, request: Request, query: AnomaliesQuery) -> Anomalies:
        """A page of them, newest first."""
        self._migration.require()
        since, shown = period(query.days)
        found = self._history.anomalies(
            *(since, offset(query), query.per_page),
            command=query.command,
            severity=query.severity,
            state=query.state,
        )
        rows = [_shown(row) for row in found.rows]
        filters = {name: query.given[name] for name in _FILTERS if name in query.given}
        return Anomalies(
            anomalies=paginator(address(request, self._public_url), query, rows, found.total),
            filters=cast("dict[Literal['command', 'severity', 'state'], str]", filters),
            period=shown,
        )


def _shown(row: AnomalyRow) -> Incident:
    numbers = {
        name: float(value)
        for name, value in (row.details or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Incident(
        id=row.anomaly_id,
        command_name=row.command_name,
        anomaly_type=row.anomaly_type,
        metric=row.metric,
        anomaly_metrics=numbers,
        anomaly_current=row.current,
        anomaly_baseline_avg=row.baseline_avg,
        anomaly_severity=cast("Severity", row.severity),
        change_percent=row.change_percent,
        threshold=row.threshold,
        baseline_runs=row.baseline_runs,
        process_id=row.process_id,
        detected_at=timestamp(row.detected_at),
        app=row.app,
        environment=row.environment,
        summary=row.summary,
        baseline=_baseline(row, numbers),
        ratio=row.ratio,
        p_value=row.p_value,
        test=row.test,
        trace_id=row.trace_id,
        owner=row.owner,
        state="resolved" if row.state == "resolved" else "open",
        occurrences=row.occurrences,
        last_seen_at=timestamp(row.last_seen_at or row.detected_at),
        worst_ratio=row.worst_ratio,
        escalated_at=instant(row.escalated_at),
        resolved_at=instant(row.resolved_at),
        resolution=row.resolution,
    )


def _baseline(row: AnomalyRow, numbers: Mapping[str, float]) -> Baseline | None:
    try:
        return Baseline(
            centre=row.baseline_avg,
            low=numbers["baseline_low"],
            high=numbers["baseline_high"],
            spread=numbers["baseline_std"],
            runs=row.baseline_runs,
            first_at=instant(numbers["baseline_since"]),
            last_at=instant(row.baseline_until),
        )
    except KeyError:  # a row that no analysis wrote
        return None
