"""Families of how anomalies are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmon.publish.sink import NotDeliveredError
from jobmon.store import connection
from jobmon.store.deliveries import MOST_SINKS, DeliveryCounts
from tests.conftest import RedisServer
from tests.databases import made
from tests.metrics.conftest import Sampled
from tests.publish.outbox import Outbox, event, outbox
from tests.publish.test_publisher import Kept
from tests.serving import Recorded


@pytest.fixture
def box(recorded: Recorded, store: RedisServer, tmp_path: Path) -> Iterator[Outbox]:
    with made("sqlite", tmp_path) as database, outbox(store, database) as found:
        yield found


def test_deliveries_are_counted_by_sink_and_result_whoever_publishes(
    box: Outbox, sampled: Sampled
) -> None:
    kept, failing = Kept(), Kept("failing")
    failing.failing = NotDeliveredError("answered 500")

    def value(sink: str, result: str) -> float | None:
        return sampled("jobmon_deliveries_total", sink=sink, result=result)

    def waiting(sink: str) -> float | None:
        return sampled("jobmon_deliveries_waiting", sink=sink)

    box.publish(box.publisher([kept, failing]))
    assert [value("kept", one) for one in ("delivered", "failed", "dropped")] == [0, 0, 0]
    assert waiting("failing") == 0
    box.add(event(command_name="a"), event(command_name="b"))
    box.publish(box.publisher([kept, failing]))
    assert (value("kept", "delivered"), value("failing", "failed")) == (2, 1)
    assert (waiting("kept"), waiting("failing")) == (0, 2)
    box.make_due()
    failing.failing = NotDeliveredError("answered 410", is_final=True)
    box.publish(box.publisher([kept, failing]))
    assert (value("failing", "dropped"), value("failing", "failed")) == (1, 1)
    failing.failing = None
    box.make_due()
    box.publish(box.publisher([kept, failing]))
    assert (value("failing", "delivered"), waiting("failing")) == (1, 0)
    assert value("kept", "delivered") == 2


def test_a_sink_that_is_no_more_waits_no_more(box: Outbox, sampled: Sampled) -> None:
    gone = Kept("gone")
    box.publish(box.publisher([gone]))
    assert sampled("jobmon_deliveries_waiting", sink="gone") == 0
    box.publish(box.publisher([Kept()]))
    assert sampled("jobmon_deliveries_waiting", sink="gone") is None
    assert sampled("jobmon_deliveries_total", sink="gone", result="delivered") == 0


def test_a_sink_that_is_no_more_makes_room_unless_something_waits_for_it(
    recorded: Recorded, sampled: Sampled
) -> None:
    with connection.connect(recorded.settings) as client:
        counts = DeliveryCounts(client, recorded.settings)
        counts.begin(["awaited"])
        counts.wait({"awaited": 1})
        for at in range(MOST_SINKS + 1):
            DeliveryCounts(client, recorded.settings).begin([f"webhook:{at:03}"])

    def value(sink: str) -> float | None:
        return sampled("jobmon_deliveries_total", sink=sink, result="delivered")

    assert [value(f"webhook:{at:03}") for at in (0, MOST_SINKS)] == [None, 0]
    assert value("awaited") == 0


def test_what_waits_is_right_whoever_wrote_it_last_and_after_a_flush(
    recorded: Recorded, sampled: Sampled
) -> None:
    with connection.connect(recorded.settings) as client:
        one, other = (DeliveryCounts(client, recorded.settings) for _ in range(2))

        def publish(counts: DeliveryCounts, waiting: int) -> None:
            counts.begin(["kept"])
            counts.wait({"kept": waiting} if waiting else {})

        for counts, many in ((one, 0), (other, 1), (one, 0)):
            publish(counts, many)
            assert sampled("jobmon_deliveries_waiting", sink="kept") == many
        client.flushall()
        publish(one, 0)
        assert sampled("jobmon_deliveries_waiting", sink="kept") == 0
        assert sampled("jobmon_deliveries_total", sink="kept", result="failed") == 0


def test_a_hundred_sinks_have_their_own_names(recorded: Recorded, sampled: Sampled) -> None:
    with connection.connect(recorded.settings) as client:
        counts = DeliveryCounts(client, recorded.settings)
        names = [f"webhook:{at:03}" for at in range(MOST_SINKS + 1)]
        counts.begin(names)
        for name in names:
            counts.count(name, "delivered")
        counts.wait({"webhook:100": 2, "stranger": 3})
        client.hset("jobmon:totals:deliveries", "odd", b"\xff")
    value = sampled("jobmon_deliveries_total", sink="webhook:099", result="delivered")
    assert value == 1
    assert sampled("jobmon_deliveries_total", sink="webhook:100", result="delivered") is None
    assert sampled("jobmon_deliveries_total", sink="other", result="delivered") == 1
    assert sampled("jobmon_deliveries_waiting", sink="other") == 5


def test_alerts_are_counted_by_the_place_of_the_peer(recorded: Recorded, sampled: Sampled) -> None:
    def sent(peer: str) -> list[float | None]:
        results = ("success", "error", "dropped")
        return [sampled("jobmon_alerts_sent_total", peer=peer, result=one) for one in results]

    with connection.connect(recorded.settings) as client:
        counts = DeliveryCounts(client, recorded.settings)
        counts.alerts(0, {"success": 7, "error": 0, "dropped": 0})
        counts.alerts(1, {"success": 0, "error": 7, "dropped": 0})
        counts.alerts(0, {"success": 1})
    assert (sent("0"), sent("1")) == ([8, 0, 0], [0, 7, 0])
    assert sent("2") == [None] * 3
