"""What an evaluation found, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from jobmon.analysis.checks import Baseline, Kind
from jobmon.anomaly import SEVERITIES, Severity

_DOCUMENTED: Final[dict[str, frozenset[Kind]]] = {
    "performance_degradations": frozenset((Kind.PERFORMANCE_DEGRADATION,)),
    "performance_improvements": frozenset((Kind.PERFORMANCE_IMPROVEMENT,)),
    "workload_anomalies": frozenset((Kind.WORKLOAD_SPIKE, Kind.WORKLOAD_DROP)),
    "failure_rate_anomalies": frozenset((Kind.FAILURE_RATE_SPIKE, Kind.FAILURE_RATE_DROP)),
}
"""Kinds that are counted together; others are counted in nothing that is documented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A number of one run, or of a run that is missing, that is not normal."""

    id: str
    """UUID of the incident that it belongs to."""
    command_name: str
    app: str
    environment: str
    anomaly_type: Kind
    metric: str
    anomaly_metrics: Mapping[str, float]
    anomaly_current: float
    anomaly_baseline_avg: float
    anomaly_severity: Severity
    change_percent: float | None
    threshold: float
    baseline_runs: int
    process_id: str | None
    """Of the run; of a missed execution, of the last one before it."""
    trace_id: str | None
    detected_at: datetime
    p_value: float
    test: str
    ratio: float
    """Effect size: current by the baseline's centre, at most 999.99."""
    baseline: Baseline
    summary: str
    """One sentence for people."""
    owner: str | None
    also: tuple[Kind, ...] = ()
    """What else is not normal with the same run, so that one cause may be behind all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A start that was expected and did not come."""

    command_name: str
    app: str
    environment: str
    process_id: str | None
    """Of the last run."""
    last_run_at: datetime
    due_at: datetime
    hours_since_last_run: float
    expected_interval_hours: float
    severity: Severity
    missed_in_a_row: int
    """3 stands for any more."""
    summary: str


@dataclass(frozen=True, slots=True)
class Insufficient:
    """A command of which too few runs are known to judge one."""

    app: str
    environment: str
    command_name: str
    runs: int
    """Before the newest."""
    needed: int


@dataclass(slots=True)
class Report:
    """What one evaluation found. Each list is in the order of the commands' names."""

    timestamp: datetime
    is_complete: bool = True
    """The time was enough for all that was to be judged."""
    commands_analyzed: int = 0
    anomalies: list[Anomaly] = field(default_factory=list[Anomaly])
    """Of documented kinds, of the newest run of each command."""
    further: list[Anomaly] = field(default_factory=list[Anomaly])
    """Of other kinds: of the newest run, and of runs that do not end."""
    missed: list[Missed] = field(default_factory=list[Missed])
    insufficient: list[Insufficient] = field(default_factory=list[Insufficient])
    unknown: list[str] = field(default_factory=list[str])
    """Names of commands that have no run."""
    errors: list[str] = field(default_factory=list[str])
    """``command: what failed``, of a command that could not be judged."""
    warnings: list[str] = field(default_factory=list[str])
    events: int = 0
    """Written, to be published."""
    seconds: float = 0.0

    def add(self, anomaly: Anomaly) -> None:
        """File it under its kind."""
        is_documented = any(anomaly.anomaly_type in kinds for kinds in _DOCUMENTED.values())
        (self.anomalies if is_documented else self.further).append(anomaly)

    def counts(self) -> dict[str, int]:
        """The documented counters: how many anomalies of which kinds, and of which severity."""
        found = {"total_anomalies": len(self.anomalies)}
        for name, kinds in _DOCUMENTED.items():
            found[name] = sum(one.anomaly_type in kinds for one in self.anomalies)
        for name in reversed(SEVERITIES):
            found[f"{name}_anomalies"] = sum(one.anomaly_severity == name for one in self.anomalies)
        return found
