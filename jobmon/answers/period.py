"""The days that an answer covers."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.answers.values import Answer, Instant


@dataclass(frozen=True, slots=True)
class Period(Answer):
    """From a midnight in UTC until now."""

    start_date: Instant
    end_date: Instant
    days: int
    """How many whole days before today."""
