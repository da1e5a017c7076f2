"""The words of jobmon as plain types: statuses, outcomes, transitions, records.

Owns the names and units of every field and the total order of a job's transitions.
Called by everyone; imports the standard library only.
"""

from __future__ import annotations

from enum import IntFlag, StrEnum
from typing import Final, NamedTuple, TypeAlias

MANUAL_DISPATCH: Final = "manual-dispatch"
"""Command name of a job that nobody's command started."""
SCHEDULE: Final = "schedule"
"""Source of a run that a scheduler's entry started."""


class Status(StrEnum):
    """State of a job; a command run is running, completed, failed or lost."""

    PENDING = "pending"
    PROCESSING = "processing"
    LOST = "lost"
    RETRYING = "retrying"
    REVOKED = "revoked"
    FAILED = "failed"
    COMPLETED = "completed"


class Outcome(StrEnum):
    """How one execution of a job, or one command run, ended."""

    COMPLETED = "completed"
    IGNORED = "ignored"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REJECTED = "rejected"
    LOST = "lost"
    RETRIED = "retried"
    REVOKED = "revoked"


STATUS_OF: Final[dict[Outcome, Status]] = {
    Outcome.COMPLETED: Status.COMPLETED,
    Outcome.IGNORED: Status.COMPLETED,
    Outcome.FAILED: Status.FAILED,
    Outcome.TIMED_OUT: Status.FAILED,
    Outcome.REJECTED: Status.FAILED,
    Outcome.LOST: Status.LOST,
    Outcome.RETRIED: Status.RETRYING,
    Outcome.REVOKED: Status.REVOKED,
}
"""Status that an outcome leads to; a message rejected with requeue is ``RETRIED``."""

RANK: Final[dict[Status, int]] = {
    Status.PENDING: 1,
    Status.PROCESSING: 2,
    Status.LOST: 3,
    Status.RETRYING: 4,
    Status.REVOKED: 5,
    Status.FAILED: 6,
    Status.COMPLETED: 7,
}
"""Evidence that a job ran beats a guess that it did not; success beats failure."""

FINAL: Final = frozenset({Status.REVOKED, Status.FAILED, Status.COMPLETED})


LOST_EXIT_CODE: Final = -1
"""Exit code of a run that was lost."""


def end_of_run(root: Outcome) -> tuple[Status, int]:
    """Status and exit code of a run that ends with its root job, which ended so."""
    status = STATUS_OF[root]
    if status is Status.COMPLETED:
        return status, 0
    if status is Status.LOST:
        return status, LOST_EXIT_CODE
    return Status.FAILED, 1


class Stage(IntFlag):
    """What an attempt has gone through; each is counted once in the ``_total`` aggregates."""

    ENQUEUED = 1
    STARTED = 2
    ENDED = 4
    LOST = 8


class Transition(NamedTuple):
    """One change of a job's status, with all that the store needs to apply it.

    Only primitives, so that one ``marshal`` call carries it between processes.
    """

    process_id: str
    """Id of the command run, or of the root job's tree when ``manual``."""
    command: str
    manual: bool
    """True: nobody's command started it, its record lives under its own key."""
    job_id: str
    engine: str
    queue: str
    job_name: str
    status: str
    """A :class:`Status` value."""
    outcome: str
    """An :class:`Outcome` value once the attempt ended, else empty."""
    attempt: int
    """From 1, one more at each further publish of the same id in the run."""
    delivery: int
    """0, or in ms when an attempt began anew: its start when the broker says *redelivered*, when
    its dependencies were met for a job that was put off before."""
    stages: int
    """:class:`Stage` bits that this transition proves."""
    at_ms: int
    """Unix ms: when it can run (pending, retrying), when it started (processing), when it ended."""
    execution_us: int
    queue_time_us: int
    """-1 while unknown."""
    peak_memory_bytes: int
    """0 where jobs share a process."""
    error_type: str
    """Qualified class of the error, or empty."""
    body: bytes
    """The record's JSON from its second member on: without ``{``, status and attempt."""
    message: bytes = b""
    """Replayable message of a job that failed or was lost; never shown."""


class RunTransition(NamedTuple):
    """Start or end of a command run. Only primitives, as :class:`Transition`."""

    process_id: str
    command: str
    status: str
    """``running`` at the start; ``completed``, ``failed`` or ``lost`` at the end. ``sent`` before
    the start of a run that begins with a job, which a scheduler has published."""
    outcome: str
    """Empty at the start; an :class:`Outcome` value at the end."""
    at_ms: int
    duration_us: int
    exit_code: int
    body: bytes
    """JSON object of the run as known now (api.md §6: fields of running or finished, and added)."""
    beats: bool = False
    """At the start: its process will beat for it, so that silence means that it is lost. Told
    again with the duration so far, it takes that verdict back where it has outlived it."""


class Beat(NamedTuple):
    """Word that a worker, an open run or a scheduler lives. Only primitives."""

    kind: str
    """``worker``, ``run``, ``scheduler``, ``schedule`` for an entry that a scheduler knows, or
    ``job`` for a name that a worker knows."""
    id: str
    """One process's or run's own, never used again by another. Of a name, the labels of its
    series."""
    age_ms: int = 0
    """How long ago it was last seen to move, by its host's monotonic clock; 0 for just now."""
    body: bytes = b""
    """JSON object for people and programs to read; empty: the store keeps the one it has."""
    gone: bool = False
    """It ended as it should: forget it."""


OrderKey: TypeAlias = tuple[int, bool, int, int]


def order_key(status: Status, attempt: int, delivery: int = 0) -> OrderKey:
    """Position of a transition in the total order of its job.

    The record of a job is the maximum of all its transitions, so every order of arrival
    ends in the same record. ``delivery`` tells a redelivered attempt from a duplicate and
    matters only until the attempt is final: a redelivery never reopens what has ended.
    """
    final = status in FINAL
    return attempt, final, 0 if final else delivery, RANK[status]
