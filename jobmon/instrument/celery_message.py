"""The message of a Celery job as it was published, so that it can be published again.

One JSON object, whose values are plain: ``v`` (version of this format), ``engine``, ``body``
(base64 of the serialized bytes, decompressed), ``content_type``, ``content_encoding``,
``headers`` (jobmon's own among them), ``properties``, ``exchange``, ``routing_key`` and
``queue``. What the broker added is left out. To push it again, with kombu alone: the body as
bytes with its content type, headers ``eta`` and ``expires`` set to null, of the properties
``correlation_id``, ``reply_to``, ``priority`` and ``delivery_mode``.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from jobmon.instrument.celery_job import ENGINE, module
from jobmon.instrument.jobs import MAX_MESSAGE_BYTES

VERSION: Final = 1
_PERFORMING: Final = ("fast_trace_task", "trace_task_ret")
_DELAYED: Final = "celery_delayed_"
"""In the names of the exchanges where native delayed delivery lets a message wait."""
_DELAY: Final = re.compile(r"^(?:[01]\.){28}")
"""What it puts before the routing key."""
_ADDED_BY_BROKER: Final = frozenset(
    {
        *("compression", "redelivered", "x-death", "x-delivery-count", "x-acquired-count"),
        *("x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"),
        *("x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"),
    }
)
"""And ``compression``: the worker has the body decompressed, and would try it again."""
_ADDED_BY_WORKER: Final = frozenset(
    {
        *("args", "kwargs", "properties", "reply_to", "correlation_id", "hostname"),
        *("delivery_info", "is_eager", "loglevel", "logfile"),
        *("callbacks", "errbacks", "chain", "chord"),
    }
)
"""To a request; the last four stand in the body."""
_PROPERTIES_OF_TRANSPORT: Final = frozenset({"delivery_tag", "delivery_info", "body_encoding"})


def is_delayed(exchange: str) -> bool:
    """Whether an exchange is one of native delayed delivery."""
    return _DELAYED in exchange


def without_delay(routing_key: str) -> str:
    """The routing key that a message of native delayed delivery has after its wait."""
    return _DELAY.sub("", routing_key)


def queue_behind(exchange: str | None, routing_key: str) -> str:
    """The application's queue that an exchange leads to, else the routing key.

    Args:
        exchange: Its name; None where any will do.
        routing_key: Of the message.
    """
    queues: dict[str, Any] = module("celery").current_app.amqp.queues
    for queue in queues.values():
        leads = exchange is None or getattr(queue.exchange, "name", "") == exchange
        if leads and queue.routing_key == routing_key:
            return str(queue.alias or queue.name)  # a broadcast has a new name in each process
    return routing_key


def of_running_job(queue: str) -> bytes:
    """The message of the job that ends in this thread, empty if it cannot be had.

    A child holds the message's bytes in one place: as arguments of the function that performs
    the job and is still under way. Only a failure pays for the search. Of protocol 1 a child
    gets no bytes.
    """
    caller = inspect.currentframe()
    while caller is not None:
        if caller.f_code.co_name in _PERFORMING:
            found = caller.f_locals
            if not found.get("content_type"):
                return b""
            request: dict[str, Any] = found["request"]
            return _encode(
                found["body"],
                found["content_type"],
                found["content_encoding"],
                {key: value for key, value in request.items() if key not in _ADDED_BY_WORKER},
                request.get("properties") or {},
                request.get("delivery_info") or {},
                queue,
            )
        caller = caller.f_back
    return b""


def of_message(message: Any, queue: str) -> bytes:
    """A message as the main process of a worker got it (``kombu.Message``).

    Empty for one that cannot be decompressed: it would never be understood.
    """
    if message.errors:
        return b""
    return _encode(
        message.body,
        message.content_type,
        message.content_encoding,
        message.headers or {},
        message.properties or {},
        message.delivery_info or {},
        queue,
    )


def _encode(
    body: Any,
    content_type: str,
    content_encoding: str,
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    delivery: Mapping[str, Any],
    queue: str,
) -> bytes:
    if isinstance(body, str):
        body = body.encode("utf-8")
    exchange, routing_key = delivery.get("exchange") or "", delivery.get("routing_key") or ""
    if is_delayed(exchange):
        exchange, routing_key = "", queue  # the wait is over: straight to its queue
    stored: dict[str, object] = {
        "v": VERSION,
        "engine": ENGINE,
        # Of one that is too large enough is left for that to be seen.
        "body": base64.b64encode(bytes(body[:MAX_MESSAGE_BYTES])).decode(),
        "content_type": content_type,
        "content_encoding": content_encoding,
        "headers": {k: v for k, v in headers.items() if k not in _ADDED_BY_BROKER},
        "properties": {k: v for k, v in properties.items() if k not in _PROPERTIES_OF_TRANSPORT},
        "exchange": exchange,
        "routing_key": routing_key,
        "queue": queue or routing_key,
    }
    return json.dumps(stored, separators=(",", ":"), default=_plain, skipkeys=True).encode()


def _plain(value: object) -> str:
    """What JSON has no word for: AMQP's tables hold times, decimals and bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
