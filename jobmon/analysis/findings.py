"""An anomaly as it is reported, remembered and published."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.missed import MOST_MISSED
from jobmon.analysis.report import Anomaly
from jobmon.analysis.sentence import over, sentence, stopped
from jobmon.analysis.severity import severity
from jobmon.anomaly import PerformanceAnomalyDetected, State
from jobmon.history.incidents import Incident
from jobmon.history.runs import CommandKey, RunValues

_NAMES: Final = uuid.UUID("6a6f626d-6f6e-4e00-8000-616e6f6d616c")
"""Under which ids are made: the same of the same, whoever makes them, however often."""
_MOST: Final = 2.0**33 * 1e9
"""Numbers beyond, and infinite ones, are this much: databases and JSON take no infinity."""


def anomaly_id(process_id: str | None, kind: Kind) -> str:
    """Of the anomaly of a kind that begins with a run."""
    return str(uuid.uuid5(_NAMES, f"{process_id} {kind}"))


def event_id(anomaly: str, turn: State, process_id: str | None) -> str:
    """Of an anomaly's turn, which one run makes once."""
    return str(uuid.uuid5(_NAMES, f"{anomaly} {turn} {process_id}"))


def numbers(check: Check) -> dict[str, float]:
    """What an anomaly was compared with, and what came out."""
    found = {
        "current": check.current,
        "baseline_avg": check.baseline.centre,
        "baseline_std": check.baseline.spread,
        "baseline_low": check.baseline.low,
        "baseline_high": check.baseline.high,
        "baseline_runs": float(check.baseline.n),
        "baseline_since": check.baseline.first_at,
        "ratio": check.ratio,
        "change_percent": change_percent(check) or 0.0,
    }
    return {name: max(-_MOST, min(value, _MOST)) for name, value in found.items()}


def change_percent(check: Check) -> float | None:
    """By how much the number differs from what was to be expected; None: nothing was."""
    centre = check.baseline.centre
    return 100 * (check.current - centre) / centre if centre else None


def found(
    key: CommandKey,
    check: Check,
    *,
    process_id: str | None,
    trace_id: str | None,
    now: datetime,
    owner: str | None,
    summary: str,
    also: tuple[Kind, ...] = (),
) -> Anomaly:
    """An anomaly as it is reported, with the id that it has if this run is its first."""
    return Anomaly(
        id=anomaly_id(process_id, check.kind),
        command_name=key.command,
        app=key.app,
        environment=key.environment,
        anomaly_type=check.kind,
        metric=check.metric,
        anomaly_metrics=numbers(check),
        anomaly_current=check.current,
        anomaly_baseline_avg=check.baseline.centre,
        anomaly_severity=severity(check),
        change_percent=change_percent(check),
        threshold=check.threshold,
        baseline_runs=check.baseline.n,
        process_id=process_id,
        trace_id=trace_id,
        detected_at=now,
        p_value=check.p_value,
        test=check.test,
        ratio=check.ratio,
        baseline=check.baseline,
        summary=summary,
        owner=owner,
        also=also,
    )


def begun(anomaly: Anomaly, started_at: float | None = None, *, occurrences: int = 1) -> Incident:
    """The incident that it is if this run, which started then, is its first."""
    return Incident(
        anomaly_id=anomaly.id,
        command_name=anomaly.command_name,
        app=anomaly.app,
        environment=anomaly.environment,
        process_id=anomaly.process_id,
        anomaly_type=str(anomaly.anomaly_type),
        metric=anomaly.metric,
        current=anomaly.anomaly_current,
        baseline_avg=anomaly.anomaly_baseline_avg,
        severity=anomaly.anomaly_severity,
        change_percent=anomaly.change_percent,
        threshold=anomaly.threshold,
        details=anomaly.anomaly_metrics,
        detected_at=anomaly.detected_at,
        summary=anomaly.summary,
        ratio=anomaly.ratio,
        worst_ratio=anomaly.ratio,
        p_value=anomaly.p_value,
        test=anomaly.test,
        baseline_runs=anomaly.baseline_runs,
        trace_id=anomaly.trace_id,
        occurrences=occurrences,
        last_seen_at=anomaly.detected_at,
        last_process_id=anomaly.process_id,
        last_started_at=None if started_at is None else datetime.fromtimestamp(started_at, UTC),
        baseline_until=datetime.fromtimestamp(anomaly.baseline.last_at, UTC),
        owner=anomaly.owner,
    )


def event(
    incident: Incident,
    turn: State,
    *,
    process_id: str | None,
    now: datetime,
    values: RunValues | None,
    check: Check | None = None,
) -> PerformanceAnomalyDetected:
    """What is told of a turn.

    Args:
        incident: As it is after it.
        turn: Which one it is.
        process_id: Of the run that made it.
        now: This moment.
        values: Of that run.
        check: Of what ended it: the number as it is now.
    """
    told = PerformanceAnomalyDetected(
        id=event_id(incident.anomaly_id, turn, process_id),
        anomaly_id=incident.anomaly_id,
        state=turn,
        command_name=incident.command_name,
        app=incident.app,
        environment=incident.environment,
        anomaly_type=incident.anomaly_type,
        metric=incident.metric,
        anomaly_metrics=incident.details,
        anomaly_current=incident.current,
        anomaly_baseline_avg=incident.baseline_avg,
        anomaly_severity=incident.severity,
        change_percent=incident.change_percent,
        threshold=incident.threshold,
        baseline_runs=incident.baseline_runs,
        latest_metric=None if values is None else metric(values),
        process_id=process_id,
        trace_id=incident.trace_id if values is None else values.trace_id,
        p_value=incident.p_value,
        test=incident.test,
        summary=incident.summary,
        owner=incident.owner,
        detected_at=now,
    )
    if turn != "resolved":
        return told
    kind, resolution = Kind(incident.anomaly_type), incident.resolution or ""
    summary = over(incident.command_name, kind, resolution)
    if check is None:
        return replace(told, summary=summary)
    return replace(
        told,
        summary=summary,
        anomaly_metrics=numbers(check),
        anomaly_current=check.current,
        anomaly_baseline_avg=check.baseline.centre,
        change_percent=change_percent(check),
        baseline_runs=check.baseline.n,
        p_value=check.p_value,
        test=check.test,
    )


def metric(values: RunValues) -> Mapping[str, Any]:
    """A row of ``command-metrics``."""
    row = values._asdict()
    del row["trace_id"]
    return row | {"run_date": values.run_date.isoformat()}


def say_missed(command: str, check: Check, missed_in_a_row: int) -> str:
    """The sentence of a run that is missing, or of so many that it seems to be for good."""
    if missed_in_a_row >= MOST_MISSED:
        return stopped(command, check, missed_in_a_row)
    return sentence(command, check)
