"""A question to something that may hang: asked in a thread, answered within its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CACHE_SECONDS: Final = 1.0


class Question(Generic[T]):
    """Callers within a second share one answer; while a thread still waits, no other is started."""

    def __init__(self, ask: Callable[[], T], timeout: float) -> None:
        """Make one.

        Args:
            ask: Called in a thread.
            timeout: Seconds that a caller waits for it.
        """
        self._ask = ask
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._asking: asyncio.Future[T] | None = None
        self._answer: tuple[T | None] = (None,)
        self._asked_at = float("-inf")

    async def answer(self) -> T | None:
        """What it gave, at most a second old; None: it did not answer in time."""
        async with self._lock:
            if time.monotonic() - self._asked_at > CACHE_SECONDS:
                self._answer = (await self._new(),)
                self._asked_at = time.monotonic()
            return self._answer[0]

    async def _new(self) -> T | None:
        if self._asking is None or self._asking.done():
            self._asking = _in_thread(self._ask)
        try:
            # Connecting and reading may each take the timeout, resolving a name any time: the
            # caller waits for one timeout, the thread ends by itself.
            return await asyncio.wait_for(asyncio.shield(self._asking), self._timeout)
        except TimeoutError:
            return None


def _in_thread(ask: Callable[[], T]) -> asyncio.Future[T]:
    """In one that nobody waits for at the process's end, unlike those of a pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, error: Exception | None) -> None:
        if future.done():  # cancelled with the loop
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer, error = None, None
        try:
            answer = ask()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, answer, error)

    threading.Thread(target=run, name="jobmon-check", daemon=True).start()
    return future
