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
