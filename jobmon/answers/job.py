"""One job with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, Exact, Instant, JsonObject, Number


@dataclass(frozen=True, slots=True)
class Frame(Answer):
    """One line of a traceback."""

    file: str
    line: int | None
    function: str
    code: str


@dataclass(frozen=True, slots=True)
class Failure(Answer):
    """Why an attempt failed."""

    type: str
    """Qualified class of the exception."""
    message: str
    frames: list[Frame]
    """The innermost last; empty where the history alone knows the job."""


@dataclass(frozen=True, slots=True)
class Attempt(Answer):
    """An attempt that another one followed."""

    attempt: int
    """From 1."""
    status: str
    outcome: str | None
    queue: str | None
    worker: str | None
    enqueued_at: Instant | None
    started_at: Instant | None
    finished_at: Instant | None
    execution_time: Number | None
    """Seconds."""
    queue_time: Exact | None
    """Seconds."""
    exception: Failure | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Job(Answer):
    """One job: from the state store, or from the history once that has forgotten it."""

    job_id: str
    """The engine's."""
    process_id: str
    """Of its run, or of the tree's root job."""
    command_name: str
    job_name: str | None
    """Name of its task or function."""
    job_type: str | None
    status: str
    """`pending`, `processing`, `completed`, `failed`, `retrying`, `revoked` or `lost`."""
    outcome: str | None
    """How its latest attempt ended."""
    attempt: int
    """Number of its latest attempt, from 1; times and numbers are of this one."""
    engine: str | None
    queue: str | None
    worker: str | None
    host: str | None
    app: str | None
    environment: str | None
    release: str | None
    tags: list[str]
    created_at: Instant | None
    """When it was first published; null where the history alone knows the job."""
    enqueued_at: Instant | None
    eta: Instant | None
    """Before it, it does not start."""
    started_at: Instant | None
    finished_at: Instant | None
    queue_time: Exact | None
    """Seconds."""
    execution_time: Number | None
    """Seconds."""
    memory_usage: int | None
    """Bytes, peak while it ran; null where jobs share a process."""
    parent_id: str | None
    root_id: str | None
    group_id: str | None
    retry_of: str | None
    """The job that a person ran again as this one."""
    trace_id: str | None
    span_id: str | None
    arguments: JsonObject | None
    """`args` and `kwargs` as recorded, redacted; null where they were not."""
    exception: Failure | None
    attempts: list[Attempt]
    """Those before the latest, oldest first."""
    failed_job_id: int | None
    """Its `id` in `jobs/failed`, while it is there."""
    can_be_retried: bool
    """Whether it is among the failed jobs, with what is pushed and where to."""
