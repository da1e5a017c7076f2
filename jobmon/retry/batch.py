"""Some failed jobs at once: asked about, claimed together, pushed one by one, settled together."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import redis

from jobmon.errors import JobmonError
from jobmon.history.database import DatabaseUnavailable
from jobmon.retry.claims import LONGEST_WHO, Claim, Claims, Failure
from jobmon.retry.errors import (
    MessageMissingError,
    NotConfiguredError,
    NotFailedError,
    PerhapsPushedError,
    QueueUnavailable,
)
from jobmon.retry.pusher import Pusher, Verdict
from jobmon.store.clock import now_us
from jobmon.store.pushes import Pushes

if TYPE_CHECKING:
    from jobmon.settings import Settings

MOST: Final = 100
"""Jobs in one batch; their messages, each up to 256 KiB, are held in memory."""
_LONGEST_SECONDS: Final = 20.0
"""After which the rest of a batch is given back: a part of what a claim holds."""
_REFUSED: Final = (MessageMissingError, NotConfiguredError, NotFailedError, PerhapsPushedError)

_log: Final = logging.getLogger("jobmon.retry")


class Batch(NamedTuple):
    """What became of one."""

    up_to: int
    """The last row that was tried."""
    pushed: int
    refusals: list[JobmonError]
    """Of each job up to there that was not pushed, why."""
    broken_off: QueueUnavailable | None
    """Why the rest was not tried."""
    is_waiting: bool = False
    """The rest was not tried, as somebody else has the next one in hand."""


class _Free(NamedTuple):
    """What may be claimed of a page."""

    up_to: int
    """The last row that was looked at."""
    failures: list[Failure]
    refusals: dict[int, JobmonError]
    """Why other rows may not, by rows."""
    broken_off: QueueUnavailable | None
    is_waiting: bool


@dataclass(slots=True)
class _Ends:
    """What is to become of claims, as far as a batch has come."""

    released: list[Failure]
    """Not pushed."""
    refusals: dict[int, JobmonError]
    """By rows."""
    removed: list[Failure] = field(default_factory=list[Failure])
    """Pushed, or failed no more."""
    open: list[Failure] = field(default_factory=list[Failure])
    """Nobody knows, and if what pushes them is interrupted, neither does it."""
    pushed: int = 0


class Batches:
    """Makes them. Safe to share between threads."""

    def __init__(
        self,
        client: redis.Redis,
        claims: Claims,
        settings: Settings,
        stop: threading.Event,
        claim_seconds: float,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Of the store, whose clock tells how old a claim is.
            claims: On the rows of the history.
            settings: The store's.
            stop: Once set, the current job is the last.
            claim_seconds: After which the holder of a claim is taken for dead.
        """
        self._redis = client
        self._claims = claims
        self._pushes = Pushes(client, settings)
        self._stop = stop
        self._claim_time = timedelta(seconds=claim_seconds)

    def push(
        self,
        pusher: Pusher,
        page: Sequence[Failure],
        who: str,
        *,
        force: bool,
        is_patient: bool = False,
    ) -> Batch:
        """Push those of some jobs that nobody else has in hand.

        Args:
            pusher: With its connections.
            page: At least one, in the order of their rows.
            who: Asks.
            force: Push also what an earlier call may have pushed.
            is_patient: End before a job that somebody else has in hand, who may be dead: it is
                asked for again.

        Raises:
            DatabaseUnavailable: None was pushed.
            redis.RedisError: The store went away; those before were pushed.
        """
        up_to, free, refusals, broken_off, is_waiting = self._free(
            pusher, page, force=force, is_patient=is_patient
        )
        if broken_off is not None:
            return Batch(page[0].id - 1, 0, [], broken_off)
        if not free:
            return Batch(up_to, 0, list(refusals.values()), None, is_waiting)
        claim = self._announced(who)
        claimed = self._claims.claim(free, claim)
        mine = {one.id for one in claimed}
        refusals |= {one.id: NotFailedError(one.given) for one in free if one.id not in mine}
        ends = _Ends(released=list(claimed), refusals=refusals)
        began = time.monotonic()
        try:
            for at, failure in enumerate(claimed):
                if at and (self._stop.is_set() or time.monotonic() - began > _LONGEST_SECONDS):
                    up_to, is_waiting = failure.id - 1, False
                    break
                try:
                    _push(pusher, failure, claim, ends)
                except QueueUnavailable as reason:
                    up_to, broken_off = failure.id - 1, reason
                    break
        finally:
            is_settled = self._settle(ends)
        if is_settled:
            self._pushes.close(claim.token)
        tried = [reason for row, reason in sorted(refusals.items()) if row <= up_to]
        return Batch(up_to, ends.pushed, tried, broken_off, is_waiting)

    def is_held(self, failure: Failure) -> bool:
        """Whether somebody has the job in hand.

        Raises:
            redis.RedisError: The store does not tell the time.
        """
        claim = failure.claim
        if claim is None:
            return False
        return _moment(now_us(self._redis)) - claim.at < self._claim_time

    def recover(self, pusher: Pusher) -> None:
        """Give back what dead holders have not pushed, and delete the rows of what they have.

        What nobody can tell of stays claimed, and is not looked at again unless somebody asks.

        Raises:
            DatabaseUnavailable: The rest is not looked at.
            redis.RedisError: The same.
        """
        before_us = now_us(self._redis) - self._claim_time // timedelta(microseconds=1)
        tokens = self._pushes.older_than(before_us)
        after, is_known = 0, True
        while tokens and (page := self._claims.older_than(_moment(before_us), after, MOST)):
            for failure in page:
                if self._stop.is_set():
                    return
                try:
                    self._settle_dead(pusher, failure)
                except QueueUnavailable:
                    is_known = False
            after = page[-1].id
        for token in tokens if is_known else ():
            self._pushes.leave(token)

    def _settle_dead(self, pusher: Pusher, failure: Failure) -> None:
        verdict = self._judge(pusher, failure)
        if verdict is Verdict.PUSHED:
            self._claims.remove([failure])
        elif verdict is Verdict.NOT_PUSHED:
            self._claims.release([failure])

    def _free(
        self, pusher: Pusher, page: Sequence[Failure], *, force: bool, is_patient: bool
    ) -> _Free:
        free: list[Failure] = []
        refusals: dict[int, JobmonError] = {}
        for failure in page:
            if is_patient and self.is_held(failure):
                return _Free(failure.id - 1, free, refusals, None, is_waiting=True)
            try:
                pusher.check(failure)
                if self._is_pushed(pusher, failure, force=force):
                    self._claims.remove([failure])
                    # By an earlier turn of whoever is patient: it is no refusal.
                    if not is_patient:
                        refusals[failure.id] = NotFailedError(failure.given)
                else:
                    free.append(failure)
            except QueueUnavailable as reason:
                return _Free(page[0].id - 1, [], refusals, reason, is_waiting=False)
            except _REFUSED as reason:
                refusals[failure.id] = reason
        return _Free(page[-1].id, free, refusals, None, is_waiting=False)

    def _is_pushed(self, pusher: Pusher, failure: Failure, *, force: bool) -> bool:
        """Whether a dead holder has pushed it.

        Raises:
            NotFailedError: Somebody has it in hand.
            PerhapsPushedError: Nobody knows.
            QueueUnavailable: Its queue cannot be asked.
        """
        if failure.claim is None:
            return False
        if self.is_held(failure):
            raise NotFailedError(failure.given)
        verdict = self._judge(pusher, failure)
        if verdict is Verdict.PERHAPS and not force:
            raise PerhapsPushedError(failure.given)
        return verdict is Verdict.PUSHED

    def _judge(self, pusher: Pusher, failure: Failure) -> Verdict:
        claim = failure.claim
        return Verdict.NOT_PUSHED if claim is None else pusher.judge(failure, claim)

    def _settle(self, ends: _Ends) -> bool:
        """Whether nothing is claimed any more."""
        try:
            self._claims.remove(ends.removed)
            self._claims.release(ends.released)
        except DatabaseUnavailable as error:
            # What was recorded has the rows taken out, and recovery gives the others back.
            _log.warning("jobs were pushed, their rows stay for now: %s", error)
            return False
        return not ends.open

    def _announced(self, who: str) -> Claim:
        """A claim that the store knows of, before it is made."""
        token, at = uuid.uuid4().hex, now_us(self._redis)
        self._pushes.open(token, at)
        return Claim(token, who[:LONGEST_WHO], _moment(at))


def _push(pusher: Pusher, failure: Failure, claim: Claim, ends: _Ends) -> None:
    """Push a claimed job, and tell what is to become of its claim.

    Raises:
        QueueUnavailable: It is given back, and so may be the rest.
        redis.RedisError: The same.
    """
    ends.released.remove(failure)
    ends.open.append(failure)
    try:
        pusher.push(failure, claim)
    except PerhapsPushedError as reason:  # claimed it stays, until it is known
        ends.refusals[failure.id] = reason
        return
    except NotFailedError as reason:
        ends.refusals[failure.id] = reason
        ends.removed.append(failure)
    except (QueueUnavailable, redis.RedisError):
        ends.open.remove(failure)
        ends.released.append(failure)
        raise
    except _REFUSED as reason:
        ends.refusals[failure.id] = reason
        ends.released.append(failure)
    else:
        ends.pushed += 1
        ends.removed.append(failure)
    ends.open.remove(failure)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)
