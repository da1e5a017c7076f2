"""``anomalies``: deviations that the analysis found, from the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from starlette.requests import Request

from jobmon.answers.anomalies import Anomalies, Anomaly
from jobmon.history.found import AnomalyRow
from jobmon.history.read import HistoryReader
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.periods import DAYS, DAYS_TEXT, period
from jobmon.server.query import NAME, Paged, one_of, parameter
from jobmon.server.responses import timestamp
from jobmon.settings import Settings

_BASELINE_RUNS: Final = "baseline_runs"
_FILTERS: Final = ("command", "severity")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomaliesQuery(Paged):
    """Parameters of ``anomalies``."""

    command: str | None = parameter(NAME, "Of this command alone.")
    severity: str | None = parameter(
        one_of("low", "medium", "high", "critical"), "Of this severity alone."
    )
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
            since, offset(query), query.per_page, command=query.command, severity=query.severity
        )
        rows = [_shown(row) for row in found.rows]
        filters = {name: query.given[name] for name in _FILTERS if name in query.given}
        return Anomalies(
            anomalies=paginator(address(request, self._public_url), query, rows, found.total),
            filters=cast("dict[Literal['command', 'severity'], str]", filters),
            period=shown,
        )


def _shown(row: AnomalyRow) -> Anomaly:
    numbers = {
        name: float(value)
        for name, value in (row.details or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Anomaly(
        id=row.anomaly_id,
        command_name=row.command_name,
        anomaly_type=row.anomaly_type,
        metric=row.metric,
        anomaly_current=row.current,
        anomaly_baseline_avg=row.baseline_avg,
        anomaly_severity=row.severity,
        change_percent=row.change_percent,
        threshold=row.threshold,
        baseline_runs=int(numbers.pop(_BASELINE_RUNS, 0)),
        anomaly_metrics=numbers,
        process_id=row.process_id,
        detected_at=timestamp(row.detected_at),
    )
