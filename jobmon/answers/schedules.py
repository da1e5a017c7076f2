"""Schedulers and the entries of their schedules."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, Instant, Number


@dataclass(frozen=True, slots=True)
class Scheduler(Answer):
    """A process that sends jobs at set times."""

    id: str
    engine: str
    kind: str
    """`beat` (Celery), `cron` (`rq cron`) or `scheduled` (that of an RQ worker)."""
    name: str
    hostname: str
    pid: int
    up: bool
    """Its loop turns, or sleeps for as long as it said."""
    last_seen_at: Instant | None
    started_at: Instant | None
    last_turn_at: Instant | None
    next_due_at: Instant | None
    entries: int | None
    """How many it has, shown or not; null for one without entries."""
    queues: list[str]
    """That RQ's scheduler serves."""


@dataclass(frozen=True, slots=True)
class Entry(Answer):
    """What is sent at set times."""

    engine: str
    kind: str
    """Of its scheduler."""
    name: str
    job_name: str
    schedule: str
    timezone: str
    queue: str
    state: str
    """`ok`, `late`, `failed` (it could not be sent), `down` (its scheduler is), or `disabled`."""
    late_seconds: Number
    """How long ago it should have been sent; 0 when it is not late."""
    next_due_at: Instant | None
    last_due_at: Instant | None
    last_sent_at: Instant | None
    last_run_id: str | None
    sent_count: int | None
    error: str | None
    """What kept it from being sent the last time."""
    scheduler_id: str
    scheduler_up: bool


@dataclass(frozen=True, slots=True)
class Schedules(Answer):
    """Everything that schedulers have told."""

    schedulers: list[Scheduler]
    entries: list[Entry]
