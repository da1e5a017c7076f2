"""Ending work that goes on for a while by a signal, after what has begun."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopped:
    """Whether a signal came, and which."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.code = 0
        """The exit code that tells of it; 0: none came."""

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.code = 128 + number
        self.event.set()


@contextmanager
def stopped_by_signals() -> Generator[Stopped]:
    """SIGINT and SIGTERM set an event inside the block, in place of ending the process."""
    stopped = Stopped()
    before = {number: signal.signal(number, stopped) for number in _SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
