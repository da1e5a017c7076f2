"""Every event reaches every sink that wants it, whoever dies or hangs on the way."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import jobmon
from jobmon import anomaly
from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.history.fence import FencedError
from jobmon.publish import publisher as module
from jobmon.publish.publisher import Published
from jobmon.publish.sink import NotDeliveredError
from jobmon.publish.stream import StreamSink
from jobmon.store.events import Events
from jobmon.store.keys import PUBLISH
from jobmon.store.lease import Lease
from tests.publish.outbox import Outbox, event
from tests.serving import until


class Kept:
    """A sink that keeps what it is given, or fails as told."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.given: list[PerformanceAnomalyDetected] = []
        self.bodies: list[str] = []
        self.failing: NotDeliveredError | Exception | None = None
        self.least = "low"

    def wants(self, one: PerformanceAnomalyDetected) -> bool:
        return one.anomaly_severity == "high" or self.least == "low"

    def deliver(self, one: PerformanceAnomalyDetected, body: str) -> None:
        if self.failing is not None:
            raise self.failing
        self.given.append(one)
        self.bodies.append(body)

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.given]


def test_each_event_goes_to_each_sink_once(any_box: Outbox) -> None:
    events = [event(command_name=f"data:{at}") for at in range(3)]
    any_box.add(*events)
    kept, strict = Kept(), Kept("strict")
    publisher = any_box.publisher([StreamSink(Events(any_box.client, any_box.settings)), kept])
    assert any_box.publish(publisher) == Published(delivered=6)
    assert kept.given == events
    assert json.loads(kept.bodies[0]) == events[0].to_dict()
    assert any_box.stream() == [one.id for one in events]
    assert any_box.publish(publisher) == Published()
    # Who comes later is told of what comes later.
    late = any_box.publisher([kept, strict])
    assert any_box.publish(late) == Published()
    assert all(row["attempts"] == 1 and row["error"] is None for row in any_box.deliveries())


def test_a_sink_gets_what_it_wants_only(box: Outbox) -> None:
    kept = Kept()
    kept.least = "high"
    severe = event(command_name="b")
    box.add(event(command_name="a", anomaly_severity="low"), severe)
    assert box.publish(box.publisher([kept])) == Published(delivered=1)
    assert kept.given == [severe]
    assert box.publish(box.publisher([kept])) == Published()


def test_who_was_told_of_an_anomaly_is_told_of_its_end(any_box: Outbox) -> None:
    strict, kept = Kept("strict"), Kept()
    strict.least = "high"
    first, other = event(command_name="a"), event(command_name="b", anomaly_severity="low")
    any_box.add(first, other)
    publisher = any_box.publisher([strict, kept])
    assert any_box.publish(publisher) == Published(delivered=3)
    ends = [
        event(anomaly_id=one.anomaly_id, state="resolved", anomaly_severity="low")
        for one in (first, other)
    ]
    any_box.add(*ends)
    assert any_box.publish(publisher) == Published(delivered=3)
    assert strict.given == [first, ends[0]]
    assert kept.given == [first, other, *ends]


def test_one_that_fails_is_tried_again_later_and_later(box: Outbox) -> None:
    failing, fine = Kept("failing"), Kept("fine")
    failing.failing = NotDeliveredError("answered 500\x1b[31m")
    box.add(event(command_name="a"), event(command_name="b"))
    publisher = box.publisher([failing, fine])
    assert box.publish(publisher) == Published(delivered=2, failed=1, waiting=2)
    assert len(fine.given) == 2
    rows = [row for row in box.deliveries() if row["sink"] == "failing"]
    assert [row["attempts"] for row in rows] == [1, 0]  # a sink that fails is left alone
    assert rows[0]["error"] == r"answered 500\x1b[31m"
    waits: list[float] = []
    for _ in range(9):
        box.make_due()
        box.publish(publisher)
        (first, _) = [row for row in box.deliveries() if row["sink"] == "failing"]
        waits.append((first["next_at"] - datetime.now(UTC)).total_seconds())
    for at, seconds in enumerate(waits, start=1):
        usual = min(600, 5 * 2**at)
        assert usual * 0.7 < seconds < usual * 1.3, at
    failing.failing = None
    box.make_due()
    assert box.publish(publisher) == Published(delivered=2)
    assert all(row["error"] is None for row in box.deliveries())


def test_a_receiver_that_asks_for_time_gets_it(box: Outbox) -> None:
    kept = Kept()
    kept.failing = NotDeliveredError("answered 429", retry_after_seconds=1800)
    box.add(event())
    box.publish(box.publisher([kept]))
    (row,) = box.deliveries()
    assert 1700 < (row["next_at"] - datetime.now(UTC)).total_seconds() <= 1800


def test_after_a_day_it_is_given_up_and_said(box: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    kept.failing = NotDeliveredError("answered 500")
    box.add(event())
    publisher = box.publisher([kept])
    assert box.publish(publisher) == Published(failed=1, waiting=1)
    box.make_due()
    box.change_events(adopted_at=datetime.now(UTC) - timedelta(hours=24))
    assert box.publish(publisher) == Published(given_up=1)
    assert "gives event" in caplog.text
    (row,) = box.deliveries()
    assert (row["attempts"], row["delivered_at"]) == (2, None)
    assert row["given_up_at"] is not None
    kept.failing = None
    box.make_due()
    assert box.publish(publisher) == Published()


def test_what_is_gone_is_given_up_at_once(box: Outbox) -> None:
    kept = Kept()
    kept.failing = NotDeliveredError("answered 410", is_final=True)
    box.add(event())
    assert box.publish(box.publisher([kept])) == Published(given_up=1)


def test_an_error_of_our_own_is_an_attempt_too(
    box: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    kept.failing = ZeroDivisionError("of ours")
    box.add(event())
    assert box.publish(box.publisher([kept])) == Published(failed=1, waiting=1)
    assert box.deliveries()[0]["error"] == "ZeroDivisionError in jobmon"
    assert "of ours" in caplog.text


def test_a_slow_sink_holds_no_other_up(box: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PASS_SECONDS", 0.5)
    let_go = threading.Event()

    class Slow(Kept):
        def deliver(self, one: PerformanceAnomalyDetected, body: str) -> None:
            let_go.wait(60)
            super().deliver(one, body)

    slow, fast = Slow("slow"), Kept("fast")
    publisher = box.publisher([slow, fast])
    box.add(event(command_name="a"))
    assert box.publish(publisher) == Published(delivered=1, waiting=1)
    box.add(event(command_name="b"))
    assert box.publish(publisher).delivered == 1
    assert len(fast.given) == 2
    assert slow.given == []
    let_go.set()
    until(lambda: publisher._calls["slow"].has_ended())
    # It began under the first pass's lease, and writes down what it did under the second's.
    assert box.publish(publisher) == Published(delivered=2)
    box.make_due()
    assert box.publish(publisher) == Published()
    assert len(slow.given) == 2


def test_handlers_that_take_longer_than_a_pass_hear_of_an_event_once(
    any_box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PASS_SECONDS", 0.1)
    let_go, found = threading.Event(), list[str]()

    @jobmon.on_anomaly
    def slow(one: PerformanceAnomalyDetected) -> None:
        let_go.wait(60)
        found.append(one.id)

    publisher = any_box.publisher()
    first, second = event(command_name="a"), event(command_name="b")
    any_box.add(first)
    any_box.publish(publisher)
    any_box.add(second)
    any_box.publish(publisher)
    let_go.set()
    until(lambda: publisher._calls["handlers"].has_ended())
    any_box.publish(publisher)
    any_box.make_due()
    any_box.publish(publisher)
    assert found == [first.id, second.id]


def test_a_slow_sink_of_a_server_that_leads_no_more_writes_nothing(
    any_box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PASS_SECONDS", 0.1)
    begun, let_go = threading.Event(), threading.Event()

    class Slow(Kept):
        def deliver(self, one: PerformanceAnomalyDetected, body: str) -> None:
            begun.set()
            let_go.wait(60)
            super().deliver(one, body)

    slow, kept = Slow("slow"), Kept("slow")
    former = any_box.publisher([slow])
    any_box.add(event())
    any_box.publish(former)
    begun.wait(60)
    any_box.make_due()
    assert any_box.publish(any_box.publisher([kept])) == Published(delivered=1)
    (before,) = any_box.deliveries()
    let_go.set()
    until(lambda: former._calls["slow"].has_ended())
    assert isinstance(former._calls["slow"].error, FencedError)
    assert any_box.deliveries() == [before]


def test_of_one_anomaly_nothing_overtakes(box: Outbox) -> None:
    kept = Kept()
    kept.failing = NotDeliveredError("answered 500")
    first = event(command_name="a")
    last = event(command_name="a", anomaly_id=first.anomaly_id, state="resolved")
    other = event(command_name="b")
    box.add(first, last, other)
    publisher = box.publisher([kept])
    box.publish(publisher)
    kept.failing = None
    # The first one waits for its next attempt: the other anomaly's does not.
    assert box.publish(publisher) == Published(delivered=1, waiting=2)
    assert kept.given == [other]
    box.make_due()
    assert box.publish(publisher) == Published(delivered=2)
    assert kept.given == [other, first, last]


def test_who_was_replaced_writes_nothing(any_box: Outbox) -> None:
    kept = Kept()
    publisher = any_box.publisher([kept])
    any_box.add(event())
    lease = Lease(any_box.client, any_box.settings, PUBLISH)
    late = lease.acquire()
    assert late is not None
    lease.release(late)
    assert any_box.publish(publisher) == Published(delivered=1)
    any_box.add(event(command_name="b"))
    with pytest.raises(FencedError):
        publisher.publish(late)
    assert len(kept.given) == 1
    assert any_box.publish(publisher) == Published(delivered=1)


def test_two_at_once_give_each_sink_each_event_once(any_box: Outbox) -> None:
    """Whatever the lease may think: an attempt is written down before it is made."""
    lease = Lease(any_box.client, any_box.settings, PUBLISH)
    token = lease.acquire()
    assert token is not None
    kept = [Kept(f"sink-{at}") for at in range(3)]
    both = [any_box.publisher(kept) for _ in range(2)]
    events = [event(command_name=f"data:{at}") for at in range(25)]
    any_box.add(*events)
    both[0]._deliveries.token = token
    both[0]._deliveries.adopt(kept, datetime.now(UTC))
    errors: list[Exception] = []

    def work(publisher: Any) -> None:
        while True:
            try:
                if not publisher.publish(token).waiting:
                    return
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=work, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    for sink in kept:
        assert sorted(sink.ids) == sorted(one.id for one in events)


def test_what_is_no_event_is_said_and_told_to_nobody(
    box: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    for body in ("", "[]", "{}", "[" * 100_000, json.dumps({**event().to_dict(), "state": "x"})):
        box.add(event(command_name=body[:10]), body=body)
    fine = event(command_name="fine")
    box.add(fine)
    assert box.publish(box.publisher([kept])) == Published(delivered=1, given_up=5)
    assert kept.given == [fine]
    assert caplog.text.count("is not told to anybody") == 5


def test_a_sink_that_is_no_more_is_given_up_after_a_day(box: Outbox) -> None:
    gone, kept = Kept("gone"), Kept()
    gone.failing = NotDeliveredError("answered 500")
    box.add(event())
    box.publish(box.publisher([gone, kept]))
    assert box.publish(box.publisher([kept])) == Published(waiting=1)
    box.change_events(adopted_at=datetime.now(UTC) - timedelta(hours=25))
    assert box.publish(box.publisher([kept])) == Published(given_up=1)


def test_once_stopped_the_current_event_is_the_last(box: Outbox) -> None:
    stop = threading.Event()

    class Stopping(Kept):
        def deliver(self, one: PerformanceAnomalyDetected, body: str) -> None:
            super().deliver(one, body)
            stop.set()

    sink = Stopping()
    box.add(*(event(command_name=f"data:{at}") for at in range(3)))
    assert box.publish(box.publisher([sink], stop=stop)) == Published(delivered=1, waiting=2)


class TestQuietTime:
    """Of one kind of anomaly of one command, not more than one beginning in five minutes."""

    def test_one_that_comes_and_goes_is_told_to_nobody(
        self, any_box: Outbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "jobmon.publish")
        kept = Kept()
        publisher = any_box.publisher([kept])
        first, second, other = event(), event(), event(anomaly_type="memory_growth")
        over = event(anomaly_id=first.anomaly_id, state="resolved")
        again_over = event(anomaly_id=second.anomaly_id, state="resolved")
        any_box.add(first)
        assert any_box.publish(publisher) == Published(delivered=1)
        any_box.add(over, second, other)
        assert any_box.publish(publisher) == Published(delivered=2)
        assert kept.given == [first, over, other]
        any_box.add(again_over)
        assert any_box.publish(publisher) == Published(suppressed=2)
        assert any_box.publish(publisher) == Published()
        assert "2 events are told to nobody" in caplog.text

    def test_one_that_stays_is_told_in_the_end(self, box: Outbox) -> None:
        kept = Kept()
        publisher = box.publisher([kept])
        first, second = event(), event()
        box.add(first, second)
        assert box.publish(publisher) == Published(delivered=1)
        with box.engine.begin() as connection:
            table = box.tables.anomaly_events
            connection.execute(
                table.update()
                .where(table.c.event_id == first.id)
                .values(adopted_at=datetime.now(UTC) - timedelta(seconds=301))
            )
        assert box.publish(publisher) == Published(delivered=1)
        assert kept.given == [first, second]

    def test_one_that_becomes_worse_is_told_at_once(self, box: Outbox) -> None:
        kept = Kept()
        publisher = box.publisher([kept])
        first, second = event(), event()
        worse = event(anomaly_id=second.anomaly_id, state="escalated")
        box.add(first, second)
        box.publish(publisher)
        box.add(worse)
        assert box.publish(publisher) == Published(delivered=2)
        assert kept.given == [first, second, worse]


def test_handlers_of_this_process_are_a_sink(box: Outbox) -> None:
    found: list[str] = []
    over: list[str] = []
    jobmon.on_anomaly(lambda one: found.append(one.id))
    first = event()
    last = event(anomaly_id=first.anomaly_id, state="resolved")
    box.add(first, last)
    assert box.publish().delivered == 4  # nobody here wants to hear of its end
    jobmon.on_anomaly_resolved(lambda one: over.append(one.id))
    other = event(command_name="b")
    box.add(other, event(anomaly_id=other.anomaly_id, state="resolved"))
    assert box.publish().delivered == 4
    assert found == [first.id, other.id]
    assert len(over) == 1


def test_a_process_without_handlers_leaves_them_to_those_that_have(box: Outbox) -> None:
    found: list[str] = []
    jobmon.on_anomaly(lambda one: found.append(one.id))
    (handler,) = anomaly.handlers("opened")
    box.add(event())
    publisher = box.publisher()
    publisher._deliveries.adopt([publisher._handlers], datetime.now(UTC))
    anomaly._found.clear()
    assert box.publish() == Published(waiting=1)
    jobmon.on_anomaly(handler)
    assert box.publish() == Published(delivered=1)
    assert len(found) == 1
