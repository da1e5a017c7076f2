"""Waking a thread, from anywhere."""

from __future__ import annotations

import threading


class Bell:
    """Remembers one ring until somebody waits for it.

    A bare lock, because ringing must be safe in a signal handler or finalizer that interrupts
    another ring (Event and Condition lock up there), and because eventlet turns locks into
    green ones but not ``queue.SimpleQueue``. Make it where it is used, not before: a monkey
    patch may come in between.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the one who waits, or the next one."""
        try:
            self._lock.release()
        except (RuntimeError, ValueError):  # it has not been heard yet
            pass

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a ring; True if there was one. None: without limit."""
        if timeout_seconds is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=max(0.0, timeout_seconds))
