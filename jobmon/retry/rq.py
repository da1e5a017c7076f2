"""RQ's Redis, to enqueue jobs on again: fields of hashes as they are, one script, no RQ."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import redis

from jobmon.instrument.context import HEADER, JobContext
from jobmon.queues import connection
from jobmon.retry.errors import (
    NotConfiguredError,
    NotFailedError,
    PerhapsPushedError,
    QueueUnavailable,
)
from jobmon.retry.message import RqMessage
from jobmon.store.script import Script

ENGINE: Final = "rq"

_SECONDS: Final = 5.0
_PREFIX: Final = "rq:"
_REGISTRIES: Final = ("failed", "canceled", "finished", "deferred", "scheduled", "wip")
_PUSH: Final = Script(Path(__file__).with_name("rq_push.lua").read_text("utf-8"))
_FORGET: Final = Script(Path(__file__).with_name("rq_forget.lua").read_text("utf-8"))

_log: Final = logging.getLogger("jobmon.retry")


class RqQueue:
    """RQ's databases, on the server that the settings name. Of one thread."""

    def __init__(self, url: str | None, store: redis.Redis) -> None:
        """Make one; nothing is asked yet.

        Args:
            url: ``rq.redis_url``; None: RQ's server is the store's.
            store: A client of the store.
        """
        self._url = url
        self._store: Any = store
        self._clients: dict[int, Any] = {}

    def living(self, job_id: str, queue: str, given: str) -> RqMessage | None:
        """What RQ itself still has of a job whose message was not kept; None: nothing.

        It is looked for under the usual prefix, in the database that the settings name, else in the
        store's.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        database = int(self._store.connection_pool.connection_kwargs.get("db") or 0)
        found = RqMessage(job_id, queue, _PREFIX, database, {})
        try:
            raw: dict[bytes, bytes] = self._reach(found, given).hgetall(_hash_of(found))
        except redis.RedisError as error:
            raise self._away(given, error) from error
        fields = {name.decode("utf-8", "replace"): value for name, value in raw.items()}
        return replace(found, fields=fields) if fields.get("data") else None

    def push(self, message: RqMessage, own: JobContext, given: str) -> None:
        """Enqueue a job for its next attempt, at the end of its queue.

        Raises:
            NotFailedError: It waits or runs already.
            NotConfiguredError: This server knows neither the job nor its queue.
            QueueUnavailable: Nothing was pushed.
            PerhapsPushedError: It was sent, and nobody said that it arrived.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told = {"status": "queued", "enqueued_at": now, HEADER: own.encode()}
        arguments: list[Any] = [message.job_id, own.attempt, len(told)]
        for name, value in told.items():
            arguments += (name, value)
        for name, value in message.fields.items():
            if name not in told:
                arguments += (name, value)
        client = self._reach(message, given)
        try:
            keys = _keys(message)
            answer = _PUSH.run(client, len(keys), [*keys, *arguments])
        except redis.ResponseError as error:
            raise self._away(given, error) from error
        except redis.RedisError as error:
            _log.warning("RQ's Redis: %s", type(error).__name__)
            raise PerhapsPushedError(given) from error
        if answer in (b"there", b"busy"):
            raise NotFailedError(given)
        if answer == b"unknown":
            raise NotConfiguredError(
                given, "rq.redis_url", f"There is no queue [{message.queue}] of RQ on this Redis"
            )

    def holds(self, message: RqMessage, own: JobContext, given: str) -> bool | None:
        """Whether the job has begun an attempt; None: RQ knows nothing of it any more.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        client = self._reach(message, given)
        try:
            data, text = client.hmget(_hash_of(message), "data", HEADER)
        except redis.RedisError as error:
            raise self._away(given, error) from error
        carried = JobContext.decode(text)
        if data is None:
            return None
        return carried is not None and carried.attempt >= own.attempt

    def forget(self, message: RqMessage, given: str) -> bool:
        """Delete what RQ keeps of a job that is among its failed ones; False: it is not.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        client = self._reach(message, given)
        try:
            keys = _keys(message)
            return _FORGET.run(client, len(keys), [*keys, message.job_id]) == 1
        except redis.RedisError as error:
            raise self._away(given, error) from error

    def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _reach(self, message: RqMessage, given: str) -> Any:
        """A client of the message's database that has just been answered."""
        client = self._clients.get(message.database)
        try:
            if client is None:
                client = connection.rq(self._url, self._store, _SECONDS, message.database)
                self._clients[message.database] = client
            client.ping()
        except redis.RedisError as error:
            raise self._away(given, error) from error
        return client

    def _away(self, given: str, error: redis.RedisError) -> QueueUnavailable:
        _log.warning("RQ's Redis: %s", type(error).__name__)  # its text may hold an address
        return QueueUnavailable(given)


def _hash_of(message: RqMessage) -> str:
    return f"{message.prefix}job:{message.job_id}"


def _keys(message: RqMessage) -> list[str]:
    prefix, queue, job_id = message.prefix, message.queue, message.job_id
    job = _hash_of(message)
    return [
        *(job, f"{prefix}queue:{queue}", f"{prefix}queues"),
        *(f"{prefix}{registry}:{queue}" for registry in _REGISTRIES),
        *(f"{prefix}results:{job_id}", f"{job}:dependents"),
    ]
