"""Celery's broker, to push stored messages onto: kombu alone, nothing of Celery or its users.

A message goes straight to the queue that it came from, whatever exchange led there: pushed into a
topic or a fan-out once more, others would run it too. AMQP confirms each; a queue that is gone is
found out before, and what becomes unroutable in between comes back. On Redis, a queue is a list for
each priority, and ``unacked`` what workers hold.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.instrument.context import HEADER, JobContext
from jobmon.queues import connection
from jobmon.queues.connection import CeleryLists
from jobmon.retry.errors import PerhapsPushedError, QueueUnavailable

if TYPE_CHECKING:
    from jobmon.retry.message import CeleryMessage
    from jobmon.settings.schema import Celery

_SECONDS: Final = 5.0
"""Longest wait to connect, and for each answer."""
_DROPPED: Final = frozenset({"compression", "redelivered", "x-death", "x-delivery-count"})
"""The body is stored decompressed; the others are of a delivery that is over."""
_PROPERTIES: Final = ("correlation_id", "reply_to", "priority")
_PERSISTENT: Final = 2
_MOST_LOOKED_AT: Final = 50_000
"""Messages of one queue, and as many that workers hold."""
_TOGETHER: Final = 500
_NOT_ENCODED: Final = (struct.error, TypeError, ValueError, OverflowError)
"""What a header raises that the protocol has no type for, before anything is sent."""

_log: Final = logging.getLogger("jobmon.retry")


class CeleryQueue:
    """One connection, made when it is needed. Of one thread."""

    def __init__(self, settings: Celery) -> None:
        self._settings = settings
        self._connection: Any = None
        self._channel: Any = None
        self._known: set[str] = set()

    def push(self, message: CeleryMessage, own: JobContext, given: str) -> None:
        """Publish a message for its next attempt.

        Args:
            message: As it was kept.
            own: Of the next attempt; of another id where workers refuse the old one.
            given: How whoever asks named the job.

        Raises:
            QueueUnavailable: Nothing was pushed.
            PerhapsPushedError: It was sent, and nobody said that it arrived.
        """
        try:
            exchange, routing_key = self._reach(message)
        except Exception as error:  # whatever it is, nothing was sent
            self._give_up(error)
            raise QueueUnavailable(given) from error
        properties = message.properties
        kept = {name: properties[name] for name in _PROPERTIES if properties.get(name)}
        if own.stands_for:
            kept["correlation_id"] = own.job_id
        producer = import_module("kombu").Producer(self._channel, auto_declare=False)
        refusals: tuple[type[Exception], ...] = (
            *(*self._connection.channel_errors, *_NOT_ENCODED),
            import_module("amqp.exceptions").MessageNacked,
        )
        try:
            producer.publish(
                message.body,
                exchange=exchange,
                routing_key=routing_key,
                content_type=message.content_type,
                content_encoding=message.content_encoding or "utf-8",
                headers=headers_of(message.headers, own),
                delivery_mode=properties.get("delivery_mode") or _PERSISTENT,
                mandatory=True,
                timeout=_SECONDS,
                **kept,
            )
        except refusals as error:
            self._give_up(error)
            raise QueueUnavailable(given) from error
        except Exception as error:
            self._give_up(error)
            raise PerhapsPushedError(given) from error

    def holds(self, message: CeleryMessage, own: JobContext, given: str) -> bool | None:
        """Whether the message of an attempt waits there, or is in a worker's hands.

        Returns:
            None: That cannot be told. No AMQP broker shows its messages, and of a Redis queue only
            so many are looked at.

        Raises:
            QueueUnavailable: The broker does not answer.
        """
        try:
            self._reach(message)
            if not self._is_redis:
                return None
            return self._finds(message.queue, own)
        except Exception as error:
            self._give_up(error)
            raise QueueUnavailable(given) from error

    def close(self) -> None:
        """End the connection."""
        opened, self._connection, self._channel = self._connection, None, None
        self._known.clear()
        if opened is not None:
            try:
                opened.release()
            except Exception as error:
                _log.debug("the broker's connection did not end well: %s", type(error).__name__)

    @property
    def _is_redis(self) -> bool:
        return self._connection.transport.driver_type == "redis"

    def _reach(self, message: CeleryMessage) -> tuple[str, str]:
        """Exchange and routing key that lead to the message's queue, which is there now."""
        if self._connection is None:
            self._connect()
        opened: Any = self._connection
        if self._is_redis:
            self._channel.client.ping()
            return "", message.queue
        if message.queue in self._known:
            return "", message.queue
        try:
            self._channel.queue_declare(queue=message.queue, passive=True)
        except opened.channel_errors:
            # The queue's name is not always known to who published: a topic's key is taken for it.
            if not message.exchange:
                raise
            self._channel = opened.channel()
            self._channel.exchange_declare(exchange=message.exchange, type="direct", passive=True)
            return message.exchange, message.routing_key
        self._known.add(message.queue)
        return "", message.queue

    def _connect(self) -> None:
        self._connection = connection.broker(self._settings, _SECONDS)
        self._channel = self._connection.channel()

    def _give_up(self, error: Exception) -> None:
        # Its text may hold an address.
        _log.warning("Celery's broker: %s", type(error).__name__)
        self.close()

    def _finds(self, queue: str, own: JobContext) -> bool | None:
        # A worker takes it from a list into its hands; what it holds for too long goes back.
        looked = [self._waits(queue, own), self._is_held(own), self._waits(queue, own)]
        return True if True in looked else None if None in looked else False

    def _waits(self, queue: str, own: JobContext) -> bool | None:
        lists = CeleryLists(self._channel)
        whole = True
        for name in lists.of(queue):
            length = lists.client.llen(name)
            whole = whole and length <= _MOST_LOOKED_AT
            for start in range(0, min(length, _MOST_LOOKED_AT), _TOGETHER):
                some = lists.client.lrange(name, start, start + _TOGETHER - 1)
                if any(_is_attempt(raw, own) for raw in some):
                    return True
        return False if whole else None

    def _is_held(self, own: JobContext) -> bool | None:
        lists = CeleryLists(self._channel)
        held = lists.client.hscan_iter(lists.held, count=_TOGETHER)
        for seen, (_, raw) in enumerate(held):
            if _is_attempt(raw, own):
                return True
            if seen >= _MOST_LOOKED_AT:
                return None
        return False


def headers_of(headers: Mapping[str, Any], own: JobContext) -> dict[str, Any]:
    """Headers of the next attempt: at once, never too late, with all its tries before it."""
    made = {name: value for name, value in headers.items() if name not in _DROPPED}
    made = {
        name: value for name, value in made.items() if not name.startswith(("x-first", "x-last"))
    }
    made[HEADER] = own.encode()
    if "id" not in made:  # of protocol 1, which has all of it in the body
        return made
    made |= {"eta": None, "expires": None, "retries": 0}
    if own.stands_for:
        if made.get("root_id") == made["id"]:
            made["root_id"] = own.job_id
        made["id"] = own.job_id
    return made


def _is_attempt(raw: bytes, own: JobContext) -> bool:
    """Whether a message as kombu keeps it, alone or as it was delivered, is of this attempt."""
    if json.dumps(own.job_id).encode() not in raw:
        return False
    try:
        found = json.loads(raw)
        message = cast("Any", found[0] if isinstance(found, list) else found)
        carried = JobContext.decode(message["headers"].get(HEADER))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return (
        carried is not None
        and (carried.process_id, carried.job_id) == (own.process_id, own.job_id)
        and carried.attempt >= own.attempt
    )
