"""Whether what jobmon depends on works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobmon.answers.values import Answer, Exact, Instant, Number


@dataclass(frozen=True, slots=True)
class State(Answer):
    """What came of a check."""

    status: Literal["healthy", "unhealthy", "skipped"]


@dataclass(frozen=True, slots=True)
class Responded(Answer):
    """What came of a check that is timed."""

    status: Literal["healthy"]
    response_time: Exact
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Unhealthy(Answer):
    """What is wrong, in one of a few fixed texts."""

    status: Literal["unhealthy"]
    message: str


@dataclass(frozen=True, slots=True)
class Checks(Answer):
    """One for each thing that jobmon depends on."""

    redis: Responded | Unhealthy
    database: Unhealthy | State
    metrics_freshness: Unhealthy | State


@dataclass(frozen=True, slots=True)
class SyncHealth(Answer):
    """How far the history is behind the state store."""

    lag_seconds: Number
    """Age of the oldest change that waits to be copied."""
    unsynced: int
    failures_waiting: int
    last_success_at: Instant | None
    """When a pass last copied everything."""
    last_duration_seconds: Number | None
    dropped_transitions: int
    expired_unsynced: int
    expired_failures: int
    dead_letters: int
    leads_since: Instant | None
    """Since when one of the servers leads; null: none does."""


@dataclass(frozen=True, slots=True)
class States(Answer):
    """What came of each check."""

    redis: State
    database: State
    metrics_freshness: State


@dataclass(frozen=True, slots=True)
class HealthStates(Answer):
    """What a stranger sees, with `health_check.public`."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Instant
    checks: States


@dataclass(frozen=True, slots=True)
class HealthReport(Answer):
    """Unhealthy as soon as one check is."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Instant
    checks: Checks
    sync: SyncHealth | None
    """Null while Redis does not answer."""
