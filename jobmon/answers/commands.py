"""Command runs, and the records of their jobs."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, DateTime, Instant, JsonObject, Number


@dataclass(frozen=True, slots=True)
class RunningCommand(Answer):
    """A run that has not ended."""

    id: str
    """The run's, elsewhere `process_id`."""
    command: str
    source: str
    """What started it: `console`, `schedule`, `http`, `worker`, `api`, or a word of its own."""
    started_at: DateTime | None
    """Of one that a scheduler sent and no worker has begun, when it was sent."""
    environment: str
    arguments: JsonObject
    options: JsonObject
    trace_id: str | None
    host: str | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class FinishedCommand(Answer):
    """A run that ended a while ago; its jobs may still run."""

    id: str
    """The run's, elsewhere `process_id`."""
    command: str
    source: str
    finished_at: DateTime | None
    exit_code: int
    """-1 for a run that was lost."""
    started_at: DateTime | None
    duration: Number | None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class RecordedJob(Answer):
    """A job of a run."""

    id: str
    """The engine's."""
    status: str
    """Its record, a JSON object as text, byte for byte as the state store holds it."""


@dataclass(frozen=True, slots=True)
class Counters(Answer):
    """Jobs of a run by state."""

    job_count: int
    success_jobs: int
    failed_jobs: int
    """Lost ones included."""
    lost_jobs: int
    revoked_jobs: int
    retried_jobs: int
    """Jobs with more than one attempt."""
    open_jobs: int
    total_job_time: Number
    """Seconds."""
    peak_memory: int
    """Bytes, the highest of any attempt."""
    drained_at: Instant | None
    """When it had ended and the last of its jobs had."""
    partial: bool
    """Its start was never seen, or its records expired before its last jobs."""


@dataclass(frozen=True, slots=True)
class Command(Answer):
    """One run: from the state store, or from the history once that has forgotten it."""

    process_id: str
    command_name: str
    source: str
    status: str
    """`running`, `completed`, `failed` or `lost`."""
    environment: str
    started_at: Instant | None
    finished_at: Instant | None
    due_at: Instant | None
    """When a scheduler should have sent it."""
    sent_at: Instant | None
    """When a scheduler sent it."""
    duration: Number | None
    """Seconds."""
    exit_code: int | None
    """Null while it runs; -1 for a run that was lost."""
    arguments: JsonObject
    options: JsonObject
    trace_id: str | None
    host: str | None
    pid: int | None
    app: str | None
    release: str | None
    tags: list[str] | None
    """Null where the history alone knows the run."""
    parent_process_id: str | None
    parent_job_id: str | None
    schedule: str | None
    """Name of the entry that a scheduler sent it for."""
    root_job_id: str | None
    """The job that is this run, of one that a scheduler sent."""
    counters: Counters | None
    """Null before the first job."""
