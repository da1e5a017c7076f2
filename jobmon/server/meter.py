"""Takes tokens for requests: from the buckets in Redis, within a bounded time, or from its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from jobmon.server.seldom import Seldom
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.buckets import Level, LocalBuckets, SharedBuckets, Wish

_REDIS_SECONDS: Final = 0.1
"""Longest that Redis may take to connect, and to answer."""
_WAIT_SECONDS: Final = 0.25
"""Longest that a request waits, whatever holds up the call."""
_AWAY_SECONDS: Final = 1.0
"""How long Redis is left alone once it has failed."""
_MOST_AT_ONCE: Final = 100
"""Wishes in one call."""
_LOG_EVERY_SECONDS: Final = 60.0

_log: Final = logging.getLogger("jobmon.server")


class _Asked(NamedTuple):
    wish: Wish
    answer: asyncio.Future[Level | None]
    loop: asyncio.AbstractEventLoop


class Meter:
    """Grants and refuses what requests cost, the same on every server.

    One thread asks Redis, for all requests that wait meanwhile at once. While Redis is away, each
    server counts for itself.
    """

    def __init__(self, settings: Settings) -> None:
        """Make it; nothing is asked yet."""
        self._client = connection.connect(settings, timeout=_REDIS_SECONDS)
        self._shared = SharedBuckets(self._client, settings.redis.prefix)
        self._local = LocalBuckets()
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away_until = 0.0
        self._trouble = Seldom(_LOG_EVERY_SECONDS)

    async def take(self, wish: Wish) -> Level:
        """Grant or refuse, within a quarter of a second; never raises."""
        if time.monotonic() < self._away_until:
            return self._take_locally(wish)
        with self._lock:
            refused = self._local.refusal(wish, _now_us())
        if refused is not None:
            return refused
        self._begin()
        loop = asyncio.get_running_loop()
        asked = _Asked(wish, loop.create_future(), loop)
        self._asked.put(asked)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                level = await asked.answer
        except TimeoutError:
            # The answer may have come in the same turn of a loop that was held up.
            is_there = asked.answer.done() and not asked.answer.cancelled()
            level = asked.answer.result() if is_there else None
            if not is_there:
                self._leave_alone("it takes too long")
        if level is None:
            return self._take_locally(wish)
        with self._lock:
            self._local.follow(wish, level, _now_us())
        return level

    def close(self) -> None:
        """End the thread and close the connection."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join(2 * _REDIS_SECONDS)
        self._client.close()

    def _take_locally(self, wish: Wish) -> Level:
        with self._lock:
            return self._local.take(wish, _now_us())

    def _begin(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._ask, name="jobmon-meter", daemon=True
                    )
                    self._thread.start()

    def _ask(self) -> None:
        while batch := self._waiting():
            by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Asked, Level | None]]] = {}
            for one, level in zip(batch, self._levels(batch), strict=True):
                by_loop.setdefault(one.loop, []).append((one, level))
            for loop, some in by_loop.items():
                try:
                    loop.call_soon_threadsafe(_answer, some)
                except RuntimeError:  # that loop has ended
                    pass

    def _waiting(self) -> list[_Asked]:
        """At least one, and all that came meanwhile; nothing: the end."""
        batch: list[_Asked] = []
        while (one := self._asked.get()) is not None:
            batch.append(one)
            if len(batch) == _MOST_AT_ONCE or self._asked.empty():
                return batch
        if batch:
            self._asked.put(None)
        return batch

    def _levels(self, batch: list[_Asked]) -> Sequence[Level | None]:
        if time.monotonic() >= self._away_until:
            try:
                return self._shared.take([one.wish for one in batch])
            except Exception as error:  # whatever it is, requests are answered
                self._leave_alone(type(error).__name__)
        return [None] * len(batch)

    def _leave_alone(self, why: str) -> None:
        self._away_until = time.monotonic() + _AWAY_SECONDS
        if self._trouble.is_due():  # the text of an error may hold an address: only its class
            _log.warning("this server limits requests by itself, because Redis is away: %s", why)


def _answer(some: list[tuple[_Asked, Level | None]]) -> None:
    for one, level in some:
        if not one.answer.done():
            one.answer.set_result(level)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
