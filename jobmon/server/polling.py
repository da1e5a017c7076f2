"""Reads from a broker, again and again, how many jobs its queues hold."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from jobmon.errors import Unavailable
from jobmon.history.copying import LeaseLostError
from jobmon.publish.bounded import Call

if TYPE_CHECKING:
    import threading

    from jobmon.queues.broker import Broker
    from jobmon.store.queues import QueueDepth, QueueDepths

LONGEST_SECONDS: Final = 5.0
"""For which a broker is waited for. What it still answers then is not heard."""
_LOOK_EVERY_SECONDS: Final = 0.1


class Polling:
    """One broker. Of one thread."""

    def __init__(self, broker: Broker, store: QueueDepths, stop: threading.Event) -> None:
        """Make it; nothing is asked yet.

        Args:
            broker: Where the queues are.
            store: Where it is told.
            stop: Set when nobody waits any more.
        """
        self._broker = broker
        self._store = store
        self._stop = stop
        self._call: Call[list[QueueDepth] | None] | None = None
        self.engine: Final = broker.engine

    def once(self, token: int) -> None:
        """Read, and tell the store.

        Raises:
            Unavailable: The broker does not answer; that is counted.
            LeaseLostError: Another server leads by now.
            redis.RedisError: The store does not answer.
        """
        names = self._store.known(self.engine)
        try:
            depths = self._read(names)
        except Unavailable:
            self._store.fail(token, self.engine)
            raise
        if depths is None:
            if not self._stop.is_set():  # the engine is not in use: nobody misses its queues
                self._store.forget([self.engine])
        elif not self._store.write(token, self.engine, depths):
            raise LeaseLostError

    def close(self) -> None:
        """End the broker's connections, unless it is still waited for."""
        if self._call is None or self._call.has_ended():
            self._close()

    def _read(self, names: list[str]) -> list[QueueDepth] | None:
        if self._call is not None and not self._call.has_ended():
            raise Unavailable(f"{self.engine}'s broker has not answered yet")
        call = self._call = Call(lambda: self._ask(names), f"jobmon-poll-{self.engine}")
        until = time.monotonic() + LONGEST_SECONDS
        while not call.has_ended(_LOOK_EVERY_SECONDS):
            if self._stop.is_set():
                return None
            if time.monotonic() > until:
                raise Unavailable(f"{self.engine}'s broker: no answer within {LONGEST_SECONDS:g} s")
        error = call.error
        if error is None:
            return call.result(0)
        # The text of any but ours may hold an address; kombu wraps what it was.
        said = error if isinstance(error, Unavailable) else type(error.__cause__ or error).__name__
        raise Unavailable(f"{self.engine}'s broker: {said}") from None

    def _ask(self, names: list[str]) -> list[QueueDepth] | None:
        try:
            return self._broker.read(names)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        with suppress(Exception):  # of one that is away already
            self._broker.close()
