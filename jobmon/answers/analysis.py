"""What an analysis found."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.anomaly import Severity
from jobmon.answers.anomalies import Anomaly
from jobmon.answers.values import Answer, Instant, Number


@dataclass(frozen=True, slots=True)
class AnalysisSummary(Answer):
    """How many anomalies there are; the four kinds add up to all, and so do the severities."""

    total_anomalies: int
    performance_degradations: int
    performance_improvements: int
    workload_anomalies: int
    """Spikes and drops."""
    failure_rate_anomalies: int
    """Spikes and drops."""
    critical_anomalies: int
    high_anomalies: int
    medium_anomalies: int
    low_anomalies: int


@dataclass(frozen=True, slots=True)
class MissedExecution(Answer):
    """A run that should have begun."""

    command_name: str
    last_run_at: Instant
    hours_since_last_run: Number
    expected_interval_hours: Number
    severity: Severity
    app: str
    environment: str
    due_at: Instant
    missed_in_a_row: int
    """3 stands for any more."""
    summary: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True)
class InsufficientHistory(Answer):
    """A command with too few runs to say what is usual."""

    command_name: str
    app: str
    environment: str
    runs: int
    """Before the newest."""
    needed: int


@dataclass(frozen=True, slots=True)
class Analysis(Answer):
    """What is not normal now: of each command the newest run that has ended."""

    timestamp: Instant
    anomalies_detected: int
    commands_analyzed: int
    errors: list[str]
    """Commands whose analysis failed, and why."""
    warnings: list[str]
    summary: AnalysisSummary
    anomalies: list[Anomaly]
    """Those that the summary counts."""
    missed_executions: list[MissedExecution]
    further_anomalies: list[Anomaly]
    """Of memory and queue times, and runs that take too long; nothing counts them."""
    insufficient_history: list[InsufficientHistory]
