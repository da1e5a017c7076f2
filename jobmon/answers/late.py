"""Jobs that run, or wait to run, for longer than they should."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, Instant, Number


@dataclass(frozen=True, slots=True)
class LateCount(Answer):
    """How many are late."""

    count: int
    after_seconds: float
    """As the settings say."""


@dataclass(frozen=True, slots=True)
class LateJob(Answer):
    """One that is late."""

    process_id: str
    job_id: str
    status: str
    engine: str
    queue: str
    job_name: str
    attempt: int
    worker: str | None
    since: Instant | None
    """When it could start; of one that runs, its start."""
    seconds: Number
    """For how long."""
    command_name: str


@dataclass(frozen=True, slots=True)
class LateJobs(Answer):
    """How many there are, and the 1,000 oldest."""

    pending: LateCount
    """Retrying ones included."""
    processing: LateCount
    jobs: list[LateJob]
