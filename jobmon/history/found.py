"""What the history answers: one row of each kind. Times in UTC, durations in seconds, memory in
bytes; a field is named as its column."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple


class FailedRow(NamedTuple):
    """A job that is failed or lost now."""

    id: int
    uuid: str
    """The engine's id of the job."""
    queue: str
    payload: str
    exception: str
    failed_at: datetime
    process_id: str
    command_name: str
    job_class: str | None
    attempts: int
    connection: str
    """The engine."""
    trace_id: str | None


class FailedDetail(NamedTuple):
    """What is asked about one of them."""

    id: int
    uuid: str
    process_id: str
    connection: str
    payload: str
    has_message: bool
    """Whether what its broker had is kept."""


class RunRow(NamedTuple):
    """A command run."""

    process_id: str
    command_name: str
    source: str
    total_time: float
    """Of all its jobs; its own duration where it has none."""
    job_count: int
    success_jobs: int
    failed_jobs: int
    avg_job_time: float
    peak_memory: int
    run_date: date
    started_at: datetime
    finished_at: datetime | None
    status: str
    exit_code: int | None
    duration: float | None
    trace_id: str | None


class RunDetail(NamedTuple):
    """All of a command run."""

    process_id: str
    command_name: str
    source: str
    total_time: float
    job_count: int
    success_jobs: int
    failed_jobs: int
    avg_job_time: float
    peak_memory: int
    run_date: date
    started_at: datetime
    finished_at: datetime | None
    status: str
    exit_code: int | None
    duration: float | None
    trace_id: str | None
    revoked_jobs: int
    lost_jobs: int
    retried_jobs: int
    app: str
    environment: str
    app_release: str | None
    drained_at: datetime | None
    due_at: datetime | None
    sent_at: datetime | None
    schedule: str | None
    host: str | None
    pid: int | None
    parent_process_id: str | None
    parent_job_id: str | None
    arguments: str | None
    """JSON, as are the options."""
    options: str | None
    partial: bool
    """Its start was never seen: ``started_at`` is when it was first heard of."""


class JobRow(NamedTuple):
    """A job that has ended."""

    job_id: str
    process_id: str
    command_name: str
    execution_time: float
    memory_usage: int
    queue_time: float | None
    status: str
    engine: str | None
    queue: str | None
    job_class: str | None
    outcome: str
    attempts: int
    started_at: datetime | None
    finished_at: datetime
    trace_id: str | None


class JobDetail(NamedTuple):
    """All of a job that has ended."""

    job_id: str
    process_id: str
    command_name: str
    execution_time: float
    memory_usage: int
    queue_time: float | None
    status: str
    engine: str | None
    queue: str | None
    job_class: str | None
    outcome: str
    attempts: int
    started_at: datetime | None
    finished_at: datetime
    trace_id: str | None
    app: str
    environment: str
    app_release: str | None
    job_type: str | None
    host: str | None
    worker: str | None
    exception_class: str | None
    exception_message: str | None
    parent_id: str | None
    root_id: str | None
    group_id: str | None
    retry_of: str | None
    span_id: str | None
    enqueued_at: datetime | None


class AttemptRow(NamedTuple):
    """An attempt that another one followed."""

    process_id: str
    job_id: str
    attempt: int
    status: str
    outcome: str | None
    queue: str | None
    worker: str | None
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    execution_time: float | None
    queue_time: float | None
    exception_class: str | None
    exception_message: str | None
    trace_id: str | None
    span_id: str | None


class AnomalyRow(NamedTuple):
    """A deviation that was found."""

    anomaly_id: str
    command_name: str
    anomaly_type: str
    metric: str
    current: float
    baseline_avg: float
    severity: str
    change_percent: float | None
    threshold: float
    details: dict[str, Any] | None
    process_id: str | None
    detected_at: datetime
    app: str
    environment: str
    state: str
    summary: str
    ratio: float | None
    p_value: float | None
    test: str | None
    baseline_runs: int
    trace_id: str | None
    owner: str | None
    occurrences: int
    last_seen_at: datetime | None
    worst_ratio: float | None
    escalated_at: datetime | None
    resolved_at: datetime | None
    resolution: str | None
    baseline_until: datetime | None
    """Start of the last run of its baseline."""


class JobStatistics(NamedTuple):
    """Of jobs that have ended; zeros where there are none."""

    total_jobs: int = 0
    success_jobs: int = 0
    failed_jobs: int = 0
    avg_execution_time: float = 0.0
    avg_queue_time: float = 0.0
    """Of those whose time in a queue is known."""
    avg_memory_usage: float = 0.0


class RunSummary(NamedTuple):
    """Of command runs; zeros where there are none."""

    runs: int = 0
    avg_total_time: float = 0.0
    total_peak_memory: int = 0
    """Of all runs together."""
