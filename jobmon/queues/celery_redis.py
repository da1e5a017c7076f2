"""Queues of Celery on Redis: lists, and one hash of all that workers hold.

What a worker takes, it moves into the hash until it acknowledges it. That is also where a job waits
for its ETA, in the worker's hands. The hash tells no queue, only the exchange and the key that the
message was routed by; where these led stands in the exchange's bindings.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.instrument.context import HEADER, JobContext
from jobmon.queues import connection
from jobmon.queues.answers import told
from jobmon.queues.broker import SECONDS
from jobmon.queues.connection import CeleryLists
from jobmon.store.queues import QueueDepth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobmon.settings.schema import Celery

MOST_HELD: Final = 1_000
"""Messages in workers' hands that are looked at; they stand for the others."""
_MOST_HELD_BYTES: Final = 4 << 20
_TOGETHER: Final = 100
_LARGE_TOGETHER: Final = 5
"""Asked for at once until it is known that they are small."""
_SMALL_BYTES: Final = 16 << 10
_MOST_BINDINGS: Final = 1_000
"""Of one exchange."""


class CeleryRedis:
    """One connection, made when it is needed."""

    engine = "celery"

    def __init__(self, settings: Celery) -> None:
        self._settings = settings
        self._connection: Any = None
        self._channel: Any = None

    def read(self, names: Sequence[str]) -> list[QueueDepth]:
        """See :class:`jobmon.queues.broker.Broker`."""
        if self._connection is None:
            self._connection = connection.broker(self._settings, SECONDS)
            self._channel = self._connection.channel()
        lists = CeleryLists(self._channel)
        held = _held(lists)
        queues = list(dict.fromkeys((*names, *sorted(queue for queue, _ in held))))
        keys = [(queue, name) for queue in queues for name in lists.of(queue)]
        waiting = Counter[str]()
        filled: list[tuple[str, str]] = []
        pipeline = lists.client.pipeline(transaction=False)
        for _, name in keys:
            pipeline.llen(name)
        for (queue, name), length in zip(keys, told(pipeline), strict=True):
            if length:
                waiting[queue] += length
                filled.append((queue, name))
        for _, name in filled:
            pipeline.lindex(name, -1)  # put in on the left
        oldest: dict[str, float] = {}
        for (queue, _), raw in zip(filled, told(pipeline), strict=True):
            at = _startable_at(_headers(_decoded(raw)))
            if at is not None:
                oldest[queue] = min(at, oldest.get(queue, at))
        return [
            QueueDepth(
                self.engine,
                queue,
                {
                    "waiting": waiting[queue],
                    "scheduled": held[queue, "scheduled"],
                    "reserved": held[queue, "reserved"],
                },
                oldest.get(queue),
            )
            for queue in queues
        ]

    def close(self) -> None:
        """See :class:`jobmon.queues.broker.Broker`."""
        opened, self._connection, self._channel = self._connection, None, None
        if opened is not None:
            opened.release()


def _held(lists: CeleryLists) -> Counter[tuple[str, str]]:
    """Messages in workers' hands, by queue and state: of many, as some of them are."""
    routes: dict[str, dict[str, str]] = {}
    found = Counter[tuple[str, str]]()
    total = lists.client.hlen(lists.held)
    looked = size = cursor = 0
    while total:
        is_small = looked and size < looked * _SMALL_BYTES
        together = _TOGETHER if is_small else _LARGE_TOGETHER
        cursor, some = lists.client.hscan(lists.held, cursor, count=together)
        looked += len(some)
        for raw in some.values():
            size += len(raw)
            place = _place(raw, lists, routes)
            if place is not None:
                found[place] += 1
        if cursor == 0:
            return found
        if looked >= MOST_HELD or size >= _MOST_HELD_BYTES:
            break
    return Counter({place: round(count * total / looked) for place, count in found.items()})


def _place(
    raw: bytes, lists: CeleryLists, routes: dict[str, dict[str, str]]
) -> tuple[str, str] | None:
    entry = _decoded(raw)
    if not isinstance(entry, list) or len(cast("list[object]", entry)) != 3:
        return None
    message, exchange, key = cast("list[object]", entry)
    if not isinstance(exchange, str) or not isinstance(key, str):
        return None
    if exchange and exchange not in routes:
        routes[exchange] = _routes(lists, exchange)
    own = routes.get(exchange, {})
    # One queue alone takes whatever its exchange is given, as far as anybody can tell.
    queue = own.get(key) or (next(iter(own.values())) if len(set(own.values())) == 1 else key)
    eta = _eta(_headers(message))
    return queue, "scheduled" if eta is not None and eta > time.time() else "reserved"


def _routes(lists: CeleryLists, exchange: str) -> dict[str, str]:
    """Queues of an exchange by routing key."""
    found: dict[str, str] = {}
    for member in lists.client.srandmember(lists.bindings(exchange), _MOST_BINDINGS):
        parts = member.decode("utf-8", "replace").split(lists.separator)
        if len(parts) == 3:
            found[parts[0]] = parts[2]
    return found


def _startable_at(headers: Mapping[str, Any]) -> float | None:
    """When a message was published, or its ETA if that is later; None: it does not tell."""
    own = JobContext.decode(headers.get(HEADER))
    if own is None or not own.enqueued_at:
        return None
    return max(own.enqueued_at, own.eta)


def _eta(headers: Mapping[str, Any]) -> float | None:
    said = headers.get("eta")
    if not isinstance(said, str):
        return None
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _headers(message: object) -> Mapping[str, Any]:
    found = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
    headers = found.get("headers")
    return cast("dict[str, Any]", headers) if isinstance(headers, dict) else {}


def _decoded(raw: bytes | None) -> object:
    try:
        return json.loads(raw or b"null")
    except (ValueError, RecursionError):
        return None
