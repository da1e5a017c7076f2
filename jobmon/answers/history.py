"""Runs and jobs as the history has them, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from jobmon.answers.paginator import Paginator
from jobmon.answers.period import Period
from jobmon.answers.values import Answer, Date, Exact, Number

Word: TypeAlias = Literal["increasing", "decreasing", "stable"]


@dataclass(frozen=True, slots=True)
class CommandMetric(Answer):
    """A command run."""

    process_id: str
    command_name: str
    source: str
    """What started it: `console`, `schedule`, `http`, `worker`, `api`, or a word of its own."""
    total_time: Number
    """Seconds that its jobs ran, added up; of a run without jobs, its own duration."""
    job_count: int
    success_jobs: int
    failed_jobs: int
    """Lost ones included."""
    avg_job_time: Number
    """Seconds."""
    peak_memory: int
    """Bytes, of the job that took most."""
    run_date: Date


@dataclass(frozen=True, slots=True)
class JobMetric(Answer):
    """A job that ended."""

    job_id: str
    """The engine's."""
    process_id: str
    """Of its run, or of the tree's root job."""
    command_name: str
    execution_time: Number
    """Seconds."""
    memory_usage: int
    """Bytes, peak while it ran; 0 where jobs share a process."""
    queue_time: Exact | None
    """Seconds; null while unknown."""
    status: Literal["success", "failed"]
    """Lost jobs are failed ones."""


@dataclass(frozen=True, slots=True)
class RecentRun(Answer):
    """A command run, in short."""

    process_id: str
    command_name: str
    run_date: Date
    job_count: int
    success_jobs: int
    failed_jobs: int
    total_time: Number
    """Seconds, as in `command-metrics`."""
    peak_memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Summary(Answer):
    """What happened in the period."""

    total_commands: int
    """Runs, not names."""
    total_jobs: int
    """Jobs that ended, also those outside any command."""
    success_jobs: int
    failed_jobs: int
    success_rate: Number
    """Percent; 0 without jobs."""
    failure_rate: Number
    """Percent; with `success_rate` 100."""
    avg_execution_time: Number
    """Seconds: the mean `total_time` of a run."""
    total_memory_usage: int
    """Bytes: the runs' `peak_memory`, added up."""
    avg_memory_per_command: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class RecentActivity(Answer):
    """The newest runs and jobs, at most ten of each."""

    recent_commands: list[RecentRun]
    recent_jobs: list[JobMetric]


@dataclass(frozen=True, slots=True)
class Dashboard(Answer):
    """Everything at a glance."""

    summary: Summary
    recent_activity: RecentActivity
    metrics: list[CommandMetric]
    """With `command`, its newest 100 runs; else empty."""
    period: Period


@dataclass(frozen=True, slots=True)
class TimeTrend(Answer):
    """How a duration of the newest run differs from that of the run before."""

    change: Number
    """Seconds, new minus old."""
    change_percent: Number
    trend: Word
    """Stable below 5 percent, and without two runs."""


@dataclass(frozen=True, slots=True)
class CountTrend(Answer):
    """How a count of the newest run differs from that of the run before."""

    change: int
    """New minus old."""
    change_percent: Number
    trend: Word
    """Stable below 5 percent, and without two runs."""


@dataclass(frozen=True, slots=True)
class Trends(Answer):
    """The newest run of the period against the one before it."""

    execution_time: TimeTrend
    """Of `total_time`."""
    job_count: CountTrend


@dataclass(frozen=True, slots=True)
class CommandMetrics(Answer):
    """Runs of one command, newest first, and where they are going."""

    command: str
    metrics: Paginator[CommandMetric]
    trends: Trends
    period: Period


@dataclass(frozen=True, slots=True)
class Statistics(Answer):
    """What the jobs of all pages add up to, whatever `status` asks for."""

    total_jobs: int
    success_jobs: int
    failed_jobs: int
    success_rate: Number
    """Percent; 0 without jobs."""
    failure_rate: Number
    """Percent; with `success_rate` 100."""
    avg_execution_time: Number
    """Seconds, of a job."""
    avg_queue_time: Number
    """Seconds, of the jobs whose queue time is known."""
    avg_memory_usage: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class JobMetrics(Answer):
    """Jobs that ended, newest first, and what they add up to."""

    metrics: Paginator[JobMetric]
    statistics: Statistics
    filters: dict[Literal["process_id", "command", "status"], str]
    """Those that were given."""
    period: Period
