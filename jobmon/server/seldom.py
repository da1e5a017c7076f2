"""What happens often, and is to be said seldom."""

from __future__ import annotations

import time


class Seldom:
    """Says when it may be said again."""

    def __init__(self, seconds: float) -> None:
        """Make one.

        Args:
            seconds: Between two times.
        """
        self._seconds = seconds
        self._said_at = float("-inf")

    def is_due(self) -> bool:
        """Whether it may be said now; then it counts as said."""
        now = time.monotonic()
        if now - self._said_at < self._seconds:
            return False
        self._said_at = now
        return True
