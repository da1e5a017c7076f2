"""Brings the events of anomalies to every sink: at least once, and to none in another's stead."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import redis

from jobmon import anomaly
from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.history.database import reached
from jobmon.history.fence import Fence
from jobmon.history.schema import tables
from jobmon.inert import inert
from jobmon.publish.bounded import Call
from jobmon.publish.deliveries import Deliveries, Due
from jobmon.publish.handlers import HandlerSink
from jobmon.publish.outbound import Outbound
from jobmon.publish.sink import NotDeliveredError, Sink
from jobmon.publish.stream import StreamSink
from jobmon.publish.webhooks import WebhookSink
from jobmon.store.clock import now_us
from jobmon.store.deliveries import DeliveryCounts
from jobmon.store.events import Events
from jobmon.store.identity import Identity
from jobmon.store.keys import PUBLISH
from jobmon.store.series import OTHER

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobmon.settings import Settings

LONGEST_TIME: Final = timedelta(hours=24)
"""After an event was adopted, in which it is tried again."""
_FIRST_DELAY_SECONDS: Final = 5.0
_LONGEST_DELAY_SECONDS: Final = 600.0
"""Between two attempts, which wait for twice as long each time."""
_ATTEMPT_TIME: Final = timedelta(seconds=60)
"""Longer than one takes: after it, whoever made it is taken for dead."""
_SINK_SECONDS: Final = 10.0
"""After which a sink begins no further event in one pass."""
_PASS_SECONDS: Final = 20.0
"""For which a pass waits for all of them."""
_PAGE: Final = 20
_SWEEP_SECONDS: Final = 600.0

_log: Final = logging.getLogger("jobmon.publish")


class Published(NamedTuple):
    """What a pass did."""

    delivered: int = 0
    failed: int = 0
    """Attempts that will be repeated."""
    given_up: int = 0
    waiting: int = 0
    """Deliveries that are still to be made, after it."""
    suppressed: int = 0
    """Events that nobody is told of: that kind of anomaly had come and gone just before."""


class Publisher:
    """Makes passes, one at a time."""

    def __init__(
        self,
        engine: Engine,
        client: redis.Redis,
        settings: Settings,
        stop: threading.Event | None = None,
        *,
        sinks: Sequence[Sink] | None = None,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            engine: Of the history.
            client: Of the store, whose clock tells what is due.
            settings: ``webhooks``, ``webhooks_allow_private``, ``redis.prefix`` and
                ``database.table_prefix``.
            stop: Once set, the current event of each sink is its last.
            sinks: Instead of the stream and those webhooks. Handlers are always there.
        """
        self._engine = engine
        self._redis = client
        self._stop = stop or threading.Event()
        fence = Fence(tables(settings.database.table_prefix), PUBLISH, Identity(client, settings))
        self._deliveries = Deliveries(engine, tables(settings.database.table_prefix), fence)
        self._counts = DeliveryCounts(client, settings)
        self._handlers = HandlerSink()
        self._others = _sinks(client, settings) if sinks is None else sinks
        self._calls: dict[str, Call[Published]] = {}
        self._sweep_at = 0.0

    def publish(self, token: int) -> Published:
        """Adopt new events, and deliver what is due, to each sink from a thread of its own.

        A sink that fails is left alone until the next pass. One that takes long is not waited for
        longer than some seconds: its thread goes on, and its deliveries count in a later pass.

        Args:
            token: Of the lease `PUBLISH`.

        Raises:
            FencedError: Somebody else publishes by now.
            DatabaseUnavailable: The database is away; what was not marked is delivered later.
            redis.RedisError: The same, of the store.
        """
        self._deliveries.token = token
        # Those of a process that has none are of another's: they wait for it.
        has_handlers = bool(anomaly.handlers("opened") or anomaly.handlers("resolved"))
        sinks = [*self._others, *([self._handlers] if has_handlers else [])]
        with reached(self._engine):
            self._counts.begin(sink.name for sink in sinks)
            done = self._prepared(sinks)
            due = self._deliveries.due_sinks(self._now())
            begun = self._begun([sink for sink in sinks if sink.name in due])
            deadline = time.monotonic() + _PASS_SECONDS
            for call in begun:
                call.has_ended(deadline - time.monotonic())
            done = self._added(done)
            waiting = self._deliveries.waiting()
            self._counts.wait(waiting)
            return done._replace(waiting=sum(waiting.values()))

    def _prepared(self, sinks: Sequence[Sink]) -> Published:
        """Have deliveries of new events, and of nothing that nobody will ever deliver."""
        done = Published()
        if self._deliveries.has_new():
            adopted = self._deliveries.adopt(sinks, self._now())
            done = Published(given_up=adopted.unreadable, suppressed=adopted.suppressed)
            if adopted.suppressed:
                _log.info("%d events are told to nobody: they came and went", adopted.suppressed)
        if time.monotonic() >= self._sweep_at:
            now, names = self._now(), [sink.name for sink in sinks]
            left = self._deliveries.give_up_on_others(names, now - LONGEST_TIME, now)
            if left:
                _log.error("%d deliveries are given up: nobody is there to make them", left)
                self._counts.count(OTHER, "dropped", left)
            done = done._replace(given_up=done.given_up + left)
            self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        return done

    def _begun(self, sinks: Sequence[Sink]) -> list[Call[Published]]:
        """Threads of those sinks for which none goes on since an earlier pass."""
        free = [sink for sink in sinks if sink.name not in self._calls]
        begun = {sink.name: self._call(sink) for sink in free}
        self._calls |= begun
        return list(begun.values())

    def _call(self, sink: Sink) -> Call[Published]:
        return Call(lambda: self._deliver(sink), f"jobmon-publish-{sink.name}")

    def _added(self, done: Published) -> Published:
        """What those that have ended did, too."""
        ended = [name for name, call in self._calls.items() if call.has_ended()]
        calls = [self._calls.pop(name) for name in ended]
        for call in calls:
            if call.error is not None:
                raise call.error
            one = call.result(0)
            done = done._replace(
                delivered=done.delivered + one.delivered,
                failed=done.failed + one.failed,
                given_up=done.given_up + one.given_up,
            )
        return done

    def _deliver(self, sink: Sink) -> Published:
        """All that is due for one, until it fails or has had its time."""
        end = time.monotonic() + _SINK_SECONDS
        delivered = 0
        while page := self._deliveries.due(sink.name, self._now(), _PAGE):
            for due in page:
                if self._stop.is_set() or time.monotonic() > end:
                    return Published(delivered)
                if not self._deliveries.begin(sink.name, due, self._now() + _ATTEMPT_TIME):
                    continue
                try:
                    _hand_over(sink, due)
                except NotDeliveredError as reason:
                    is_final = self._note(sink, due, reason)
                    self._counts.count(sink.name, "dropped" if is_final else "failed")
                    return Published(delivered, int(not is_final), int(is_final))
                self._deliveries.delivered(sink.name, due, self._now())
                self._counts.count(sink.name, "delivered")
                delivered += 1
        return Published(delivered)

    def _note(self, sink: Sink, due: Due, reason: NotDeliveredError) -> bool:
        """Write down that an attempt failed; whether it was the last."""
        now = self._now()
        retry_at = now + timedelta(seconds=max(_delay(due.attempts), reason.retry_after_seconds))
        is_final = reason.is_final or retry_at > due.adopted_at + LONGEST_TIME
        self._deliveries.failed(
            *(sink.name, due, str(reason)),
            retry_at=None if is_final else retry_at,
            now=now,
        )
        told = (sink.name, inert(due.event_id), due.attempts + 1, inert(reason))
        if is_final:
            _log.error("%s: gives event %s up after %d attempts: %s", *told)
        elif not due.attempts:
            _log.warning("%s: event %s is tried again, %d attempt failed: %s", *told)
        return is_final

    def _now(self) -> datetime:
        return datetime.fromtimestamp(now_us(self._redis) / 1_000_000, UTC)


def _sinks(client: redis.Redis, settings: Settings) -> list[Sink]:
    found: list[Sink] = [StreamSink(Events(client, settings))]
    if settings.webhooks:
        outbound = Outbound(allow_private=settings.webhooks_allow_private)
        found += (WebhookSink(one, outbound) for one in settings.webhooks)
    return found


def _hand_over(sink: Sink, due: Due) -> None:
    """Give an event to a sink.

    Raises:
        NotDeliveredError: Whatever went wrong.
    """
    try:
        sink.deliver(PerformanceAnomalyDetected.from_json(due.body), due.body)
    except NotDeliveredError:
        raise
    except redis.RedisError as error:
        raise NotDeliveredError(f"the store did not take it: {error}") from None
    except Exception as error:
        _log.exception("%s failed with event %s", sink.name, inert(due.event_id))
        raise NotDeliveredError(f"{type(error).__name__} in jobmon") from None


def _delay(attempts: int) -> float:
    """Seconds until the next attempt, after so many before this one; no two sinks in step."""
    doubled = _FIRST_DELAY_SECONDS * 2 ** min(attempts, 20)
    return min(doubled, _LONGEST_DELAY_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311
