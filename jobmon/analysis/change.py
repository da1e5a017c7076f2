"""A change that more than one run shows."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """In logarithms."""

    runs: int
    """The newest, that show it."""
    before: float
    """Level of the runs before them."""
    far: float
    """From there to the level of the newest, never negative."""
    p_value: float


NONE = Change(0, 0.0, 0.0, 1.0)
