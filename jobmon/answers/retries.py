"""Failed jobs that are run again."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, DateTime


@dataclass(frozen=True, slots=True)
class RetryProgress(Answer):
    """How far it is that the failed jobs of a run are run again."""

    requested: int
    """How many had failed when it was asked for."""
    pushed: int
    refused: int
    """That cannot be pushed; they stay among the failed jobs."""
    remaining: int
    requested_at: DateTime | None
    finished_at: DateTime | None
    error: str | None
    """Why the last one that was not pushed was not; null: each was."""
