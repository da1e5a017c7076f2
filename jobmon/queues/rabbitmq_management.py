"""Queues of Celery on RabbitMQ, as its management API tells: also what workers hold."""

from __future__ import annotations

import base64
import json
import ssl
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote, urlsplit

import httpcore

from jobmon.errors import Unavailable
from jobmon.queues.broker import SECONDS
from jobmon.queues.rabbitmq import DELAYED, DELAYS
from jobmon.store.queues import QueueDepth

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BYTES: Final = 8 << 20
_LONGEST_SECONDS: Final = 4.0
"""Of a request, however slowly it is answered."""
_STATES: Final = (("waiting", "messages_ready"), ("reserved", "messages_unacknowledged"))
_COLUMNS: Final = "name,messages_ready,messages_unacknowledged,head_message_timestamp"


class Management:
    """A request each time; redirects are not followed, and no proxy is used."""

    engine = "celery"

    def __init__(self, broker_url: str, url: str) -> None:
        """Make it; nothing is asked yet.

        Args:
            broker_url: ``celery.broker_url``, which names the virtual host.
            url: ``celery.management_url``, with user and password in it.
        """
        kombu: Any = import_module("kombu")
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        login = base64.b64encode(f"{user}:{password}".encode())
        virtual = quote(kombu.Connection(broker_url).virtual_host or "/", safe="")
        self._url = f"{parts.scheme}://{host}{parts.path}/api/queues/{virtual}?columns={_COLUMNS}"
        self._headers = [(b"Host", host.encode()), (b"Authorization", b"Basic " + login)]
        self._tls = ssl.create_default_context()

    def read(self, names: Sequence[str]) -> list[QueueDepth]:
        """See :class:`jobmon.queues.broker.Broker`."""
        known = self._queues()
        if known and all(_count(own, "messages_ready") is None for own in known.values()):
            raise Unavailable("the management API tells of no queue how many messages are ready")
        found: list[QueueDepth] = []
        for name in names:
            own = known.get(name, {})
            told = ((state, _count(own, field)) for state, field in _STATES)
            jobs = {state: count for state, count in told if count is not None}
            if jobs:
                oldest_at = _count(own, "head_message_timestamp") or None
                found.append(QueueDepth(self.engine, name, jobs, oldest_at))
        delays = [_count(known[name], "messages_ready") for name in DELAYS if name in known]
        delayed = [count for count in delays if count is not None]
        if delayed and len(delayed) == len(delays):
            found.append(QueueDepth(self.engine, DELAYED, {"scheduled": sum(delayed)}))
        return found

    def close(self) -> None:
        """Nothing stays open."""

    def _queues(self) -> dict[str, dict[str, Any]]:
        try:
            told: object = json.loads(self._get())
        except (ValueError, RecursionError):
            raise Unavailable("the management API answered no JSON") from None
        if not isinstance(told, list):
            raise Unavailable("the management API answered no list of queues")
        return {
            own["name"]: own
            for one in cast("list[object]", told)
            if isinstance(one, dict)
            and isinstance((own := cast("dict[str, Any]", one)).get("name"), str)
        }

    def _get(self) -> bytes:
        until = time.monotonic() + _LONGEST_SECONDS
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)
        with (
            httpcore.ConnectionPool(self._tls) as pool,
            pool.stream(
                *("GET", self._url), headers=self._headers, extensions={"timeout": timeout}
            ) as answer,
        ):
            if answer.status != 200:
                raise Unavailable(f"the management API answered {answer.status}")
            body = bytearray()
            for some in answer.iter_stream():
                body += some
                if len(body) > _MOST_BYTES or time.monotonic() > until:
                    raise Unavailable("the management API answers too much, or too slowly")
            return bytes(body)


def _count(queue: dict[str, Any], name: str) -> int | None:
    """None: it does not tell: its statistics are off, or it is down or new."""
    value = queue.get(name)
    return value if type(value) is int and value >= 0 else None
