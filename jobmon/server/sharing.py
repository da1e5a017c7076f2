"""One reading for all who ask for the same and wait at the same time.

A dashboard open in many browsers costs as much as in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Reading(Generic[T]):
    """What some wait for."""

    task: asyncio.Task[T]

    def __init__(self) -> None:
        self.has_begun = False


class Sharing(Generic[T]):
    """Readings, by what is asked.

    Each begins after everybody who gets it has asked, so that nobody gets what was true before: who
    asks while one goes on waits for the next, together with all others that do.
    """

    def __init__(self) -> None:
        self._newest: dict[Hashable, _Reading[T]] = {}

    async def read(self, asked: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What is read for this, and for whoever else waits for it.

        Args:
            asked: All that the answer depends on, but time.
            read: Reads it. Called by one of those who wait; the others get what it gives or raises.
        """
        key = asyncio.get_running_loop(), asked
        newest = self._newest.get(key)
        if newest is None or newest.has_begun:
            before, newest = newest, _Reading[T]()
            self._newest[key] = newest
            newest.task = asyncio.ensure_future(self._read(key, newest, before, read))
        # One who goes away takes it from nobody else.
        return await asyncio.shield(newest.task)

    async def _read(
        self,
        key: Hashable,
        own: _Reading[T],
        before: _Reading[T] | None,
        read: Callable[[], Awaitable[T]],
    ) -> T:
        try:
            if before is not None:
                await asyncio.wait([before.task])
            own.has_begun = True
            return await read()
        finally:
            if self._newest.get(key) is own:
                del self._newest[key]
