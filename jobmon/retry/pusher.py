"""Pushes claimed jobs, and judges those whose claim has outlived its holder.

A retry may be killed anywhere. What is written in which order, and what is found afterwards:

=====================================  ==================================================
killed after                           what the next one finds, once the claim is old
=====================================  ==================================================
nothing, or the claim was announced    no claim: pushes
the job was claimed (SQL)              not said to be pushing: the old holder is stopped by
                                       that very question; pushes
it was said to be pushing (Redis)      RQ: the script tells, pushes. Celery on Redis: looked
                                       for in the queue and among what workers hold; not
                                       there, and no record of the attempt: pushes. AMQP:
                                       nobody can tell; not pushed until a person insists
it was pushed                          as above, and found: recorded, the row is deleted. AMQP:
                                       the same once a worker has begun it
the next attempt was recorded (Redis)  the record: the row is deleted
the row was deleted (SQL)              no row: it may no longer exist
=====================================  ==================================================

The claim alone would leave everything after it open; the word before the push narrows that down to
the push itself.
"""

from __future__ import annotations

import logging
import time
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import redis

from jobmon.model import Status
from jobmon.retry import attempt, message
from jobmon.retry.celery import CeleryQueue
from jobmon.retry.errors import (
    MessageMissingError,
    NotConfiguredError,
    NotFailedError,
    QueueUnavailable,
)
from jobmon.retry.message import CeleryMessage, Message, RqMessage, UnusableError
from jobmon.retry.rq import ENGINE as RQ
from jobmon.retry.rq import RqQueue
from jobmon.store import records
from jobmon.store.keys import Keys
from jobmon.store.pushes import Came, Pushes
from jobmon.store.unsynced import Unsynced
from jobmon.store.writer import Writer

if TYPE_CHECKING:
    from typing import Self

    from jobmon.instrument.context import JobContext
    from jobmon.retry.claims import Claim, Failure
    from jobmon.settings import Settings

_REPORT_SECONDS: Final = 1.0
"""Within which a worker's word of a job that it has begun is in the store, ten times over."""
_FAILED: Final = (Status.FAILED, Status.LOST)

_log: Final = logging.getLogger("jobmon.retry")


def is_configured(engine: str, settings: Settings) -> bool:
    """Whether it is known where an engine's queues are; RQ's are in the store's Redis at least."""
    return engine == RQ or settings.celery.broker_url is not None


def no_broker(given: str) -> NotConfiguredError:
    """Why a job of Celery is refused where that is not known."""
    return NotConfiguredError(
        given, "celery.broker_url", "Where Celery's broker is has not been set"
    )


class Verdict(Enum):
    """What became of a claimed job whose holder has been silent for too long."""

    PUSHED = "pushed"
    NOT_PUSHED = "not pushed"
    PERHAPS = "perhaps"


class Queue(Protocol):
    """What both engines' queues do."""

    def push(self, message: Any, own: JobContext, given: str) -> None:
        """Push the message of an attempt."""
        ...

    def holds(self, message: Any, own: JobContext, given: str) -> bool | None:
        """Whether an attempt has been pushed; None: that cannot be told."""
        ...


class _Next(NamedTuple):
    """What is to be pushed."""

    message: Message
    own: JobContext
    record: dict[str, Any]
    """Of the attempt that failed, as far as the store still has it."""
    has_moved_on: bool
    """Whether the job is failed no more."""


class Pusher:
    """Connections to the queues, for as many jobs as there are. Of one thread."""

    def __init__(self, store: redis.Redis, settings: Settings) -> None:
        self._redis = store
        self._keys = Keys(settings.redis.prefix)
        self._pushes = Pushes(store, settings)
        self._unsynced = Unsynced(store, settings)
        self._writer = Writer(store, settings)
        celery = settings.celery
        self._celery = CeleryQueue(celery) if celery.broker_url is not None else None
        self._rq = RqQueue(settings.rq.redis_url, store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._celery is not None:
            self._celery.close()
        self._rq.close()

    def check(self, failure: Failure) -> None:
        """Return if there is what to push, and where to.

        Raises:
            MessageMissingError: Its message was not kept.
            NotConfiguredError: Where its queue is has not been said.
            QueueUnavailable: RQ, which may have it still, does not answer.
        """
        self._queue(self._message(failure), failure)

    def push(self, failure: Failure, claim: Claim) -> None:
        """Push a job that this claim is on, and record that it waits.

        Raises:
            NotFailedError: It is failed no more, or somebody else has taken it over.
            MessageMissingError: Its message was not kept.
            NotConfiguredError: Where its queue is has not been said.
            QueueUnavailable: Nothing was pushed.
            PerhapsPushedError: Nobody can tell.
            redis.RedisError: Nothing was pushed.
        """
        found = self._next(failure, claim)
        if found.has_moved_on:
            raise NotFailedError(failure.given)
        queue = self._queue(found.message, failure)
        if not self._pushes.begin(claim.token, failure.process_id, failure.job_id):
            raise NotFailedError(failure.given)
        queue.push(found.message, found.own, failure.given)
        self._record(failure, found)

    def judge(self, failure: Failure, claim: Claim) -> Verdict:
        """Find out what a claim's holder has done. It does no more from here on.

        Raises:
            QueueUnavailable: The broker does not answer.
            redis.RedisError: The store does not.
        """
        try:
            found = self._next(failure, claim)
        except MessageMissingError:
            return Verdict.NOT_PUSHED  # nor could it ever be
        if found.has_moved_on:
            return Verdict.PUSHED
        came = self._pushes.take_over(claim.token, failure.process_id, failure.job_id)
        if came is Came.NOWHERE:
            return Verdict.NOT_PUSHED
        try:
            queue = self._queue(found.message, failure)
        except NotConfiguredError:
            return Verdict.PERHAPS
        is_there = queue.holds(found.message, found.own, failure.given)
        if is_there:
            self._record(failure, found)
            return Verdict.PUSHED
        if is_there is None or came is Came.UNKNOWN or not found.record:
            # A record that has expired may be that of the next attempt, which ended long ago.
            return Verdict.PERHAPS
        # A worker may have taken it a moment ago.
        time.sleep(_REPORT_SECONDS)
        moved_on = self._next(failure, claim).has_moved_on
        return Verdict.PUSHED if moved_on else Verdict.NOT_PUSHED

    def forget(self, failure: Failure) -> None:
        """Delete what the engine itself keeps among its failed jobs, where it keeps any.

        Raises:
            QueueUnavailable: It does not answer.
        """
        try:
            found = self._message(failure)
            if isinstance(found, RqMessage):
                self._rq.forget(found, failure.given)
        except MessageMissingError:
            return
        except QueueUnavailable as error:
            raise QueueUnavailable(failure.given, "delete") from error

    def _message(self, failure: Failure) -> Message:
        try:
            found = message.read(failure.message)
        except UnusableError as error:
            if failure.engine == RQ and not failure.message:
                living = self._rq.living(failure.job_id, failure.queue, failure.given)
                if living is not None:
                    return living
            if failure.message:
                _log.warning("the stored message of a failed job is %s", error)
            raise MessageMissingError(failure.given) from error
        if found.job_id != failure.job_id:
            raise MessageMissingError(failure.given)
        return found

    def _queue(self, found: Message, failure: Failure) -> Queue:
        if isinstance(found, RqMessage):
            return self._rq
        if self._celery is None:
            raise no_broker(failure.given)
        return self._celery

    def _next(self, failure: Failure, claim: Claim) -> _Next:
        found = self._message(failure)
        member = failure.process_id, failure.job_id
        (raw,) = records.of(self._redis, self._keys, [member])
        record = attempt.readable(raw)
        renamed = isinstance(found, CeleryMessage) and self._is_refused(failure)
        own = attempt.following(failure, found.context, claim, renamed=renamed)
        number = record.get("attempt")
        moved_on = bool(record) and (
            (type(number) is int and number > failure.attempt)
            or (number == failure.attempt and record.get("status") not in _FAILED)
        )
        if renamed and not moved_on:
            (stand_in,) = records.of(self._redis, self._keys, [(own.process_id, own.job_id)])
            moved_on = stand_in is not None
        return _Next(found, own, record, moved_on)

    def _is_refused(self, failure: Failure) -> bool:
        """Whether workers of Celery refuse the id for hours: it was revoked, or expired, before."""
        before = self._unsynced.attempts(
            failure.process_id, [(failure.job_id, failure.attempt)]
        ).get(failure.job_id, [])
        return any(attempt.readable(raw).get("status") == Status.REVOKED for raw in before)

    def _record(self, failure: Failure, found: _Next) -> None:
        """That it waits again. The worker that begins it says all of this too."""
        try:
            self._writer.apply([attempt.pending(failure, found.own, found.record)])
        except redis.RedisError as error:
            _log.warning("a job was pushed, and the store does not know: %s", type(error).__name__)
