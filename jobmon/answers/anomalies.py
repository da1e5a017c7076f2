"""Deviations that the analysis found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobmon.answers.paginator import Paginator
from jobmon.answers.period import Period
from jobmon.answers.values import Answer, Instant, Number


@dataclass(frozen=True, slots=True)
class Anomaly(Answer):
    """A run that differs from those before it."""

    id: str
    command_name: str
    anomaly_type: str
    metric: str
    """Name of the number that differs."""
    anomaly_metrics: dict[str, Number]
    """What it was compared with."""
    anomaly_current: Number
    anomaly_baseline_avg: Number
    anomaly_severity: str
    """`low`, `medium`, `high` or `critical`."""
    change_percent: Number | None
    threshold: Number
    baseline_runs: int
    """How many runs it was compared with."""
    process_id: str | None
    """Of the run; of a missed execution, of the last run before it."""
    detected_at: Instant


@dataclass(frozen=True, slots=True)
class Anomalies(Answer):
    """Anomalies, newest first."""

    anomalies: Paginator[Anomaly]
    filters: dict[Literal["command", "severity"], str]
    """Those that were given."""
    period: Period
