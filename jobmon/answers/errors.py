"""Bodies of errors, in the two styles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobmon.answers.values import Answer


@dataclass(frozen=True, slots=True)
class SuccessError(Answer):
    """Style success."""

    success: Literal[False]
    message: str
    """For people; always one of a few fixed texts."""
    error: str
    """Name of the status."""


@dataclass(frozen=True, slots=True)
class SuccessInvalid(Answer):
    """Style success, for parameters that are not allowed."""

    success: Literal[False]
    message: str
    """The first of them, and how many more there are."""
    error: Literal["Unprocessable Entity"]
    errors: dict[str, list[str]]
    """By parameter."""


@dataclass(frozen=True, slots=True)
class StatusError(Answer):
    """Style status."""

    status: Literal["error"]
    message: str
    """For people; always one of a few fixed texts."""


@dataclass(frozen=True, slots=True)
class StatusInvalid(Answer):
    """Style status, for parameters that are not allowed."""

    status: Literal["error"]
    message: str
    """The first of them, and how many more there are."""
    errors: dict[str, list[str]]
    """By parameter."""
