"""Queues of Celery on RabbitMQ, as AMQP tells: how many messages are ready, and no more.

To ask for a queue that is not there ends the channel, and the server logs it: such a queue is left
alone for a while.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from jobmon.queues import connection
from jobmon.queues.broker import SECONDS
from jobmon.store.queues import QueueDepth
from jobmon.store.series import MOST_QUEUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobmon.settings.schema import Celery

DELAYED: Final = "celery_delayed"
"""Queue that stands for all that Celery delays on the broker, whichever they are for."""
DELAYS: Final = tuple(f"{DELAYED}_{level}" for level in range(27, -1, -1))
"""Where they wait, by turns; a worker declares either all or none."""
_MISSING_SECONDS: Final = 300.0
_LONGEST_SECONDS: Final = 4.0
"""After which no further queue is asked for: what is known is told before it is given up."""


class RabbitMQ:
    """One connection, made when it is needed."""

    engine = "celery"

    def __init__(self, settings: Celery) -> None:
        self._settings = settings
        self._connection: Any = None
        self._channel: Any = None
        self._missing: dict[str, float] = {}
        """Queues that were not there, and when to ask again."""

    def read(self, names: Sequence[str]) -> list[QueueDepth]:
        """See :class:`jobmon.queues.broker.Broker`."""
        until = time.monotonic() + _LONGEST_SECONDS
        if self._connection is None:
            self._connection = connection.broker(self._settings, SECONDS)
            self._channel = self._connection.channel()
        found: list[QueueDepth] = []
        for name in names[:MOST_QUEUES]:
            if found and time.monotonic() > until:
                return found
            ready = self._ready(name)
            if ready is not None:
                found.append(QueueDepth(self.engine, name, {"waiting": ready}))
        delayed = self._delayed(until)
        if delayed is not None:
            found.append(QueueDepth(self.engine, DELAYED, {"scheduled": delayed}))
        return found

    def close(self) -> None:
        """See :class:`jobmon.queues.broker.Broker`."""
        opened, self._connection, self._channel = self._connection, None, None
        if opened is not None:
            opened.release()

    def _delayed(self, until: float) -> int | None:
        total = 0
        for name in DELAYS:
            ready = self._ready(name) if time.monotonic() <= until else None
            if ready is None:
                return None
            total += ready
        return total

    def _ready(self, name: str) -> int | None:
        """Messages of a queue that wait for a consumer; None: it is not there, or not for us."""
        if time.monotonic() < self._missing.get(name, 0.0):
            return None
        amqp: Any = import_module("amqp.exceptions")
        try:
            return self._channel.queue_declare(queue=name, passive=True).message_count
        except (amqp.NotFound, amqp.ResourceLocked):
            # The channel, which the broker has closed, was opened again by then.
            self._missing[name] = time.monotonic() + _MISSING_SECONDS
            return None
