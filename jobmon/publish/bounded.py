"""Calls that nobody can break off, such as a resolver's, and a wait for them that ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A function that runs in a thread of its own, which ends with the process at the latest."""

    def __init__(self, function: Callable[[], T], name: str) -> None:
        """Begin it.

        Args:
            function: Without arguments.
            name: Of the thread.
        """
        self._function = function
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:  # also SystemExit: it is told to whoever waits
            self._error = error

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Whether it has returned, or raised.

        Args:
            seconds: How long to wait for that.
        """
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """What it raised."""
        return self._error

    def result(self, seconds: float) -> T:
        """What it returned.

        Args:
            seconds: How long to wait for that.

        Raises:
            TimeoutError: It has not returned; it goes on.
            BaseException: Whatever it raised.
        """
        if not self.has_ended(seconds):
            raise TimeoutError(f"no answer within {seconds:g} s")
        if self._error is not None:
            raise self._error
        return self._result[0]
