"""Deviations that the analysis found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobmon.anomaly import Severity
from jobmon.answers.paginator import Paginator
from jobmon.answers.period import Period
from jobmon.answers.values import Answer, Instant, Number


@dataclass(frozen=True, slots=True)
class Baseline(Answer):
    """What was usual before, in the unit of the metric."""

    centre: float
    """What was to be expected of this run: at its size, its hour, its level."""
    low: float
    """Least of what is normal."""
    high: float
    """Most of what is normal."""
    spread: float
    """Robust standard deviation of the metric's logarithm; of a rate, of the rate."""
    runs: int
    """How many it rests on."""
    first_at: Instant | None
    """Start of the first of them."""
    last_at: Instant | None
    """Start of the last of them."""


@dataclass(frozen=True, slots=True)
class Anomaly(Answer):
    """A run that differs from those before it, is missing, or does not end."""

    id: str
    """Of the incident that it belongs to: the same while one goes on."""
    command_name: str
    anomaly_type: str
    metric: str
    """Name of the number that differs."""
    anomaly_metrics: dict[str, Number]
    """What it was compared with."""
    anomaly_current: Number
    anomaly_baseline_avg: Number
    anomaly_severity: Severity
    change_percent: Number | None
    threshold: Number
    baseline_runs: int
    """How many runs it was compared with."""
    process_id: str | None
    """Of the run; of a missed execution, of the last run before it."""
    detected_at: Instant
    app: str
    environment: str
    summary: str
    """One sentence for people."""
    baseline: Baseline | None
    """None: it was not kept."""
    ratio: float | None
    """Effect size: current by expected, at most 999.99."""
    p_value: float | None
    test: str | None
    """Name of the statistical test."""
    trace_id: str | None
    owner: str | None
    """Of the command, as the configuration names it."""


@dataclass(frozen=True, slots=True)
class Incident(Anomaly):
    """One cause, from the first run that differs to those that do not any more."""

    state: Literal["open", "resolved"]
    occurrences: int
    """Runs that differed; of a missed execution, those that did not start."""
    last_seen_at: Instant
    worst_ratio: float | None
    escalated_at: Instant | None
    """When it had become so much worse that it was told once more."""
    resolved_at: Instant | None
    resolution: str | None
    """`recovered`, `accepted` as the new normal, `superseded` by its opposite, `started` again,
    `ended`, or `given up`: nobody declared that it must start, and it has not for a week."""


@dataclass(frozen=True, slots=True)
class Anomalies(Answer):
    """Incidents, newest first."""

    anomalies: Paginator[Incident]
    filters: dict[Literal["command", "severity", "state"], str]
    """Those that were given."""
    period: Period
