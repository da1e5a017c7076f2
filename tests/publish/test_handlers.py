"""Handlers are called one by one; none harms another."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

import jobmon
from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.publish.handlers import HandlerSink
from tests.publish.outbox import event
from tests.serving import until

Event = PerformanceAnomalyDetected


def test_each_is_called_once_in_its_order_with_its_state() -> None:
    called: list[str] = []

    @jobmon.on_anomaly
    def first(one: Event) -> None:
        called.append(f"first {one.state}")

    @jobmon.on_anomaly
    async def second(one: Event) -> int:
        await asyncio.sleep(0)
        called.append(f"second {one.state}")
        return 7

    @jobmon.on_anomaly_resolved
    def over(one: Event) -> None:
        called.append(f"over {one.state}")

    sink = HandlerSink()
    for state in ("opened", "escalated", "resolved"):
        sink.deliver(event(state=state))
    assert called == [
        *("first opened", "second opened", "first escalated", "second escalated"),
        "over resolved",
    ]


@pytest.mark.parametrize("raised", [ValueError("no\x1b[31m"), SystemExit(3), KeyboardInterrupt()])
def test_one_that_raises_is_logged_and_stops_nobody(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    @jobmon.on_anomaly
    def raising(one: Event) -> None:
        raise raised

    @jobmon.on_anomaly
    async def raising_too(one: Event) -> None:
        raise raised

    @jobmon.on_anomaly
    def after(one: Event) -> None:
        called.append(one.id)

    one = event()
    HandlerSink().deliver(one)
    assert called == [one.id]
    failed = [record for record in caplog.records if "failed with event" in record.getMessage()]
    assert len(failed) == 2
    assert f"raising failed with event {one.id}" in failed[0].getMessage()
    assert failed[0].exc_info is not None
    assert failed[0].exc_info[1] is raised


def test_one_that_hangs_is_passed_over_until_it_has_returned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    let_go, called = threading.Event(), list[str]()

    @jobmon.on_anomaly
    def hanging(one: Event) -> None:
        let_go.wait(60)
        called.append(f"hanging {one.command_name}")

    @jobmon.on_anomaly
    def after(one: Event) -> None:
        called.append(one.command_name)

    sink = HandlerSink(seconds=0.1)
    sink.deliver(event(command_name="a"))
    began = time.monotonic()
    sink.deliver(event(command_name="b"))
    assert time.monotonic() - began < 1
    assert called == ["a", "b"]
    assert "hanging does not return with event" in caplog.text
    assert "hanging has not returned yet: not called with event" in caplog.text
    let_go.set()
    until(lambda: "hanging a" in called)
    until(lambda: not any(t.name == "jobmon-handler" for t in threading.enumerate()))
    sink.deliver(event(command_name="c"))
    assert called == ["a", "b", "hanging a", "hanging c", "c"]


def test_one_that_is_async_and_hangs_is_cancelled() -> None:
    called: list[str] = []

    @jobmon.on_anomaly
    async def hanging(one: Event) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            called.append("cancelled")

    @jobmon.on_anomaly
    def after(one: Event) -> None:
        called.append("after")

    HandlerSink(seconds=0.1).deliver(event())
    assert called == ["cancelled", "after"]


def test_what_cannot_be_hashed_or_named_is_called_too() -> None:
    class Odd:
        called = 0

        def __eq__(self, other: object) -> bool:
            return self is other

        __hash__ = None  # type: ignore[assignment]

        def __call__(self, one: Event) -> None:
            self.called += 1
            sys.exit()

    odd = jobmon.on_anomaly(Odd())
    sink = HandlerSink()
    sink.deliver(event())
    sink.deliver(event())
    assert odd.called == 2
