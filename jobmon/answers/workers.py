"""Workers."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, Instant


@dataclass(frozen=True, slots=True)
class RunningJob(Answer):
    """A job that a worker ran when it was last seen."""

    process_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Worker(Answer):
    """A worker that lives, or died a while ago."""

    id: str
    engine: str
    name: str
    hostname: str
    pid: int
    app: str
    version: str
    """Of the engine."""
    pool: str
    state: str
    """`up`, `silent` (it has said nothing for a while) or `down` (it was taken for lost)."""
    started_at: Instant | None
    last_seen_at: Instant | None
    queues: list[str]
    slots: int
    """How many jobs it can run at a time."""
    busy: int
    """How many it ran when it was last seen."""
    running: list[RunningJob]
    """At most 200 of these."""
    resident_memory_bytes: int
    """Of its main process; 0 while unknown."""
