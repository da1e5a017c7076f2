"""Rows as the history gives them. Times of work are seconds, memory is bytes, moments are UTC."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple


class FailedRow(NamedTuple):
    """A job that is failed or lost."""

    id: int
    uuid: str
    queue: str
    payload: str
    exception: str
    failed_at: datetime
    process_id: str
    command_name: str
    job_class: str | None
    attempts: int
    connection: str
    trace_id: str | None


class RunRow(NamedTuple):
    """A command run in a list."""

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
    started_at: datetime | None
    finished_at: datetime | None
    status: str
    exit_code: int | None
    duration: float | None
    trace_id: str | None


class RunDetail(NamedTuple):
    """A command run, with everything that is kept of it."""

    process_id: str
    command_name: str
    source: str
    total_time: float
    job_count: int
    success_jobs: int
    failed_jobs: int
    revoked_jobs: int
    lost_jobs: int
    retried_jobs: int
    peak_memory: int
    started_at: datetime | None
    finished_at: datetime | None
    drained_at: datetime | None
    due_at: datetime | None
    sent_at: datetime | None
    status: str
    exit_code: int | None
    duration: float | None
    app: str
    environment: str
    app_release: str | None
    schedule: str | None
    host: str | None
    pid: int | None
    trace_id: str | None
    parent_process_id: str | None
    parent_job_id: str | None
    arguments: str | None
    """A JSON object, as ``options``."""
    options: str | None
    partial: bool


class JobRow(NamedTuple):
    """A job that ended, in a list."""

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
    finished_at: datetime | None
    trace_id: str | None


class JobDetail(NamedTuple):
    """A job that ended, with everything that is kept of it."""

    job_id: str
    process_id: str
    command_name: str
    app: str
    environment: str
    app_release: str | None
    execution_time: float
    queue_time: float | None
    memory_usage: int
    status: str
    outcome: str
    engine: str | None
    queue: str | None
    job_class: str | None
    job_type: str | None
    host: str | None
    worker: str | None
    attempts: int
    exception_class: str | None
    exception_message: str | None
    parent_id: str | None
    root_id: str | None
    group_id: str | None
    retry_of: str | None
    trace_id: str | None
    span_id: str | None
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class AttemptRow(NamedTuple):
    """An attempt that another one followed."""

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


class JobStatistics(NamedTuple):
    """What jobs add up to; zeros where there are none."""

    total_jobs: int
    success_jobs: int
    failed_jobs: int
    avg_execution_time: float
    avg_queue_time: float
    avg_memory_usage: float


class RunSummary(NamedTuple):
    """What runs add up to; zeros where there are none."""

    runs: int
    avg_total_time: float
    total_peak_memory: int


class AnomalyRow(NamedTuple):
    """A deviation."""

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
