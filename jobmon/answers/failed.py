"""Failed jobs."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, DateTime


@dataclass(frozen=True, slots=True)
class FailedJob(Answer):
    """A job that is failed or lost."""

    id: int
    """Number of the failure."""
    uuid: str
    """The engine's id of the job."""
    queue: str
    payload: str
    """A JSON object as text: `uuid`, `displayName`, `job`, `maxTries`, `attempts`, `data`, …; its
    arguments are redacted."""
    exception: str
    """`Class: message`, then the innermost frames as Python prints them."""
    failed_at: DateTime


@dataclass(frozen=True, slots=True)
class RetryProgress(Answer):
    """How far it is that all failed jobs of a run are run again."""

    requested: int
    """How many had failed when it was asked for."""
    pushed: int
    refused: int
    """That cannot be pushed; they stay among the failed jobs."""
    remaining: int
    requested_at: DateTime | None
    finished_at: DateTime | None
    """Null while some remain."""
    error: str | None
    """Why the last one that was not pushed was not."""
