"""Depth of Celery's queues on Redis, where real producers and workers put their messages."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobmon.queues import celery_redis
from jobmon.queues.celery_redis import CeleryRedis
from jobmon.settings import load
from jobmon.store.queues import QueueDepth
from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Signals, celery_worker, wait_for

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_canvas"
OWN_NAMES = {"global_keyprefix": "shop:", "sep": ":", "priority_steps": list(range(10))}


@pytest.fixture
def broker(store: RedisServer) -> Iterator[CeleryRedis]:
    """As the producers and workers of the tests have it."""
    with reading(store) as found:
        yield found


class reading:  # noqa: N801 used as a context manager
    """A broker that is closed at the end."""

    def __init__(self, store: RedisServer, user: str = "", **options: Any) -> None:
        url = f"redis://{user}127.0.0.1:{store.port}/1"
        given = {f"celery.{name}": value for name, value in options.items()}
        settings = load({"celery.broker_url": url, **given}, environ={})
        self._broker = CeleryRedis(settings.celery)

    def __enter__(self) -> CeleryRedis:
        return self._broker

    def __exit__(self, *_: object) -> None:
        self._broker.close()


def one(broker: CeleryRedis, queue: str = "celery") -> QueueDepth:
    (found,) = (depth for depth in broker.read([queue]) if depth.queue == queue)
    return found


def jobs(waiting: int = 0, scheduled: int = 0, reserved: int = 0) -> dict[str, int]:
    return {"waiting": waiting, "scheduled": scheduled, "reserved": reserved}


@pytest.mark.parametrize("options", [{}, OWN_NAMES], ids=["defaults", "own names"])
def test_a_queue_is_all_its_priority_lists(store: RedisServer, options: dict[str, Any]) -> None:
    producer = Producer(store, APP, TEST_CONF=json.dumps({"broker_transport_options": options}))
    with reading(store, **options) as broker:
        assert one(broker) == QueueDepth("celery", "celery", jobs())
        began = time.time()
        for priority in (9, 0, 3, 7, 6):
            producer.command(f"add.apply_async((1, 2), priority={priority})")
        after_first = time.time()
        producer.close()
        found = one(broker)
    assert found.jobs == jobs(waiting=5)
    assert found.oldest_at is not None
    assert began <= found.oldest_at <= after_first
    with store.client(db=1) as client:
        lists = [name for name in client.scan_iter() if client.type(name) == b"list"]
        assert len(lists) == (5 if options else 4)  # 7 joins 6 by default
        assert sum(map(client.llen, lists)) == 5


def test_the_oldest_is_of_the_message_that_came_first_in_any_list(
    store: RedisServer, broker: CeleryRedis
) -> None:
    producer = Producer(store, APP)
    producer.command("add.apply_async((1, 2), priority=6)")
    between = time.time()
    producer.command("add.apply_async((1, 2), priority=0)")
    producer.command("add.apply_async((1, 2), priority=6)")
    first = one(broker).oldest_at
    assert first is not None
    assert first < between
    with store.client(db=1) as client:
        client.delete("celery\x06\x166")
    second = one(broker).oldest_at
    assert second is not None
    assert second > between
    # One that waits for its time is as old as that.
    with store.client(db=1) as client:
        client.delete("celery")
    producer.command("add.apply_async((1, 2), countdown=300)")
    producer.close()
    later = one(broker).oldest_at
    assert later is not None
    assert later == pytest.approx(time.time() + 300, abs=30)


def test_what_a_worker_holds_is_reserved_or_scheduled_and_an_emptied_queue_shows_zeros(
    store: RedisServer, broker: CeleryRedis, tmp_path: Path
) -> None:
    queues = {
        "TEST_QUEUES": json.dumps(
            [
                ["plain", "plain", "direct", "plain", {}],
                ["topic", "topic-exchange", "topic", "orders.#", {}],
            ]
        ),
        "TEST_CONF": json.dumps({"task_default_queue": "plain"}),
    }
    signals = Signals(store)
    producer = Producer(store, APP, **queues)
    with celery_worker(store, tmp_path, app=APP, **queues):
        producer.command(
            """
            held_once.delay("late")
            add.apply_async((1,), countdown=600)
            add.apply_async((1,), countdown=600)
            add.apply_async((1,), queue="topic", routing_key="orders.new", countdown=600)
            """
        )
        signals.wait_at("late")

        def held() -> dict[str, Any]:
            return {depth.queue: depth.jobs for depth in broker.read(["plain"])}

        all_held = {"plain": jobs(scheduled=2, reserved=1), "topic": jobs(scheduled=1)}
        wait_for(lambda: held() == all_held, "four in the worker's hands")
        assert one(broker, "plain").oldest_at is None
        signals.go("late")
        wait_for(lambda: one(broker, "plain").jobs == jobs(scheduled=2), "it is done")
    producer.close()
    with store.client(db=1) as client:
        client.flushdb()
    assert one(broker, "plain") == QueueDepth("celery", "plain", jobs())


def message(eta: float | None, body: str = "W10=") -> dict[str, Any]:
    said = None if eta is None else time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(eta))
    return {"body": body, "headers": {"id": "x", "eta": said}, "properties": {}}


def test_of_many_held_messages_some_stand_for_all(store: RedisServer, broker: CeleryRedis) -> None:
    with store.client(db=1) as client:
        fields = {
            f"tag-{number}": json.dumps(
                [message(time.time() + 900 if number % 4 else None), "", "big"]
            )
            for number in range(20_000)
        }
        client.hset("unacked", mapping=fields)
        client.config_resetstat()
        found = one(broker, "big").jobs
        calls = client.info("commandstats")["cmdstat_hscan"]["calls"]
    assert calls <= celery_redis.MOST_HELD / 100 + 1  # a few are asked for first
    assert found["scheduled"] + found["reserved"] == pytest.approx(20_000, abs=2)
    assert found["scheduled"] == pytest.approx(15_000, rel=0.1)


def test_huge_held_messages_are_not_read_by_the_thousand(
    store: RedisServer, broker: CeleryRedis
) -> None:
    with store.client(db=1) as client:
        body = "A" * 100_000
        for number in range(300):
            client.hset("unacked", f"tag-{number}", json.dumps([message(None, body), "", "fat"]))
        client.config_resetstat()
        assert one(broker, "fat").jobs == jobs(reserved=300)
        assert client.info("stats")["total_net_output_bytes"] < 20_000_000


class Told:
    """What says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"headers":7}',
        b'{"headers":{"jobmon":"2|","eta":"soon"}}',
        b"[1,2,3]",
        b'[{"headers":[]},"a","b"]',
        b'[{"headers":{"eta":"tomorrow"}},"",""]',
        pickle.dumps(Told()),
    ],
)
def test_nonsense_is_counted_and_not_understood(
    store: RedisServer, broker: CeleryRedis, raw: bytes
) -> None:
    with store.client(db=1) as client:
        client.lpush("celery", raw)
        client.hset("unacked", "tag", raw)
        client.set("celery\x06\x163", "no list")
        client.sadd("_kombu.binding.a", "nonsense")
    found = one(broker)
    assert (found.jobs["waiting"], found.oldest_at) == (1, None)


def test_a_user_needs_no_more_than_the_documentation_says(own_redis_server: RedisServer) -> None:
    rules = "+@connection +llen +lindex +hlen +hscan +srandmember"
    with own_redis_server.client(db=1) as client:
        client.execute_command("ACL", "SETUSER", "poll", "on", ">secret", "~*", *rules.split())
        client.lpush("celery", json.dumps(message(None)))
        client.hset("unacked", "tag", json.dumps([message(None), "celery", "celery"]))
        client.sadd("_kombu.binding.celery", "celery\x06\x16\x06\x16celery")
    with reading(own_redis_server, "poll:secret@") as broker:
        assert one(broker).jobs == jobs(waiting=1, reserved=1)
    page = Path(__file__).parents[2] / "docs" / "howto" / "queues.md"
    assert rules in page.read_text()
