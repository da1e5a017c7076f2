"""Stored messages of failed jobs, taken apart. Whoever can write to Redis can write anything there.

What a worker kept is described in :mod:`jobmon.instrument.celery_message` and
:mod:`jobmon.instrument.rq_message`; nothing in it is unpickled or decompressed here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from jobmon.errors import JobmonError
from jobmon.instrument.context import HEADER, JobContext

VERSION: Final = 1
_LONGEST_BYTES: Final = 512 * 1024
"""Twice what a worker keeps."""
_LONGEST_NAME: Final = 255
_HIGHEST_DATABASE: Final = 65_535
_PREFIX: Final = re.compile(r"[A-Za-z0-9:._{}/-]{1,100}:")


class UnusableError(JobmonError):
    """There is no message, or it is not whole, or not ours."""


@dataclass(frozen=True, slots=True)
class CeleryMessage:
    """As Celery published it."""

    body: bytes
    """Serialized, not compressed."""
    content_type: str
    content_encoding: str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    exchange: str
    routing_key: str
    queue: str

    @property
    def job_id(self) -> object:
        """Of the job; protocol 1 has it in its body, and here alone besides."""
        return self.headers.get("id") or self.properties.get("correlation_id")

    @property
    def context(self) -> JobContext | None:
        """That of the attempt that failed; None: published without jobmon."""
        return JobContext.decode(self.headers.get(HEADER))


@dataclass(frozen=True, slots=True)
class RqMessage:
    """A job's hash as RQ had it before the job ran."""

    job_id: str
    queue: str
    prefix: str
    """Of RQ's keys, with its colon."""
    database: int
    """Its number, on whatever server RQ's Redis is."""
    fields: Mapping[str, bytes]

    @property
    def context(self) -> JobContext | None:
        """That of the attempt that failed; None: enqueued without jobmon."""
        return JobContext.decode(self.fields.get(HEADER))


Message: TypeAlias = CeleryMessage | RqMessage


def read(raw: bytes | None) -> Message:
    """Take a stored message apart.

    Raises:
        UnusableError: It cannot be pushed.
    """
    if not raw:
        raise UnusableError("no message was kept")
    if len(raw) > _LONGEST_BYTES:
        raise UnusableError(f"a message of {len(raw)} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise UnusableError("a message that is no JSON") from None
    stored = _table(found)
    if stored.get("v") != VERSION:
        raise UnusableError("a message of another version")
    make = _ENGINES.get(str(stored.get("engine")))
    if make is None:
        raise UnusableError("a message of an engine that is not known")
    return make(stored)


def _celery(stored: dict[str, Any]) -> CeleryMessage:
    return CeleryMessage(
        _bytes(stored.get("body")),
        _text(stored.get("content_type")),
        _text(stored.get("content_encoding"), shortest=0),
        _table(stored.get("headers")),
        _table(stored.get("properties")),
        _text(stored.get("exchange"), shortest=0),
        _text(stored.get("routing_key"), shortest=0),
        _text(stored.get("queue")),
    )


def _rq(stored: dict[str, Any]) -> RqMessage:
    prefix = _text(stored.get("prefix"))
    database = _table(stored.get("redis")).get("db") or 0
    if not _PREFIX.fullmatch(prefix):
        raise UnusableError("a prefix that is none of RQ's")
    if type(database) is not int or not 0 <= database <= _HIGHEST_DATABASE:
        raise UnusableError("a database that has no number")
    fields = {name: _bytes(value) for name, value in _table(stored.get("fields")).items()}
    if not fields.get("data"):
        raise UnusableError("a job without its call")
    return RqMessage(_text(stored.get("id")), _text(stored.get("queue")), prefix, database, fields)


_ENGINES: Final[dict[str, Callable[[dict[str, Any]], Message]]] = {"celery": _celery, "rq": _rq}


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnusableError("a member that is no object")
    return cast("dict[str, Any]", value)


def _text(value: object, shortest: int = 1) -> str:
    if value is None and not shortest:
        return ""
    if not isinstance(value, str) or not shortest <= len(value) <= _LONGEST_NAME:
        raise UnusableError("a member that is no text of at most 255 characters")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise UnusableError("a member that holds no bytes")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise UnusableError("a member that is no base64") from None
