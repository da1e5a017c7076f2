"""Depth of RQ's queues, which real RQ filled; nothing of it is cleaned up by looking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rq

from jobmon.queues.rq import Rq
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.queues import QueueDepth
from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Signals, wait_for
from tests.live.rq_fixtures import JOBS, rq_worker

pytestmark = pytest.mark.live

NONE = {"waiting": 0, "scheduled": 0, "deferred": 0, "reserved": 0, "failed": 0}


@pytest.fixture
def broker(store: RedisServer) -> Iterator[Rq]:
    found = Rq(f"{store.url.rsplit('/', 1)[0]}/1", None)
    yield found
    found.close()


@pytest.fixture
def producer(store: RedisServer) -> Iterator[Producer]:
    found = Producer(store, JOBS)
    yield found
    found.close()


def one(broker: Rq, queue: str = "work") -> QueueDepth:
    depths = broker.read([])
    assert depths is not None
    (found,) = (depth for depth in depths if depth.queue == queue)
    return found


def test_each_registry_is_a_state(
    store: RedisServer, broker: Rq, producer: Producer, tmp_path: Path
) -> None:
    signals = Signals(store)
    began = time.time()
    producer.command("queue.enqueue(add, 1, 2)")
    after_first = time.time()
    producer.command("queue.enqueue(add, 1, 2)")
    found = one(broker)
    assert found.jobs == {**NONE, "waiting": 2}
    assert found.oldest_at is not None
    assert began <= found.oldest_at <= after_first
    with rq_worker(store, tmp_path):
        wait_for(lambda: one(broker) == QueueDepth("rq", "work", NONE), "an empty queue")
        producer.command(
            """
            first = queue.enqueue(held, "first")
            queue.enqueue(add, 1, 2, depends_on=first)
            queue.enqueue_in(timedelta(hours=1), add, 1, 2)
            """
        )
        signals.wait_at("first")
        wait_for(
            lambda: one(broker).jobs == {**NONE, "scheduled": 1, "deferred": 1, "reserved": 1},
            "three of them",
        )
        assert one(broker).oldest_at is None
        signals.go("first")
        producer.command("queue.enqueue(fail, 'no')")
        wait_for(lambda: one(broker).jobs == {**NONE, "scheduled": 1, "failed": 1}, "a failure")


def test_a_job_between_the_queue_and_a_worker_is_reserved_and_may_be_the_oldest(
    store: RedisServer, broker: Rq, producer: Producer
) -> None:
    producer.command("queue.enqueue(add, 1, 2)")
    first = one(broker).oldest_at
    producer.command("queue.enqueue(add, 1, 2)")
    with store.client(db=1) as client:
        # What a worker that dies at once leaves behind.
        client.lmove("rq:queue:work", "rq:queue:work:intermediate", "LEFT", "RIGHT")
    found = one(broker)
    assert found.jobs == {**NONE, "waiting": 1, "reserved": 1}
    assert found.oldest_at == first


def test_an_abandoned_job_is_counted_and_left_alone(
    store: RedisServer, broker: Rq, producer: Producer
) -> None:
    """RQ's own count of started jobs would end it, and run its callbacks here."""
    producer.command("job = queue.enqueue(add, 1, 2)")
    with store.client(db=1) as client:
        (job_id,) = client.lrange("rq:queue:work", 0, -1)
        client.lpop("rq:queue:work")
        client.zadd("rq:wip:work", {job_id + b":execution": 1})
        client.hset(b"rq:job:" + job_id, "status", "started")
        before = {key: client.dump(key) for key in client.scan_iter()}
        assert one(broker).jobs == {**NONE, "reserved": 1}
        assert {key: client.dump(key) for key in client.scan_iter()} == before
        registry: Any = rq.registry.StartedJobRegistry("work", connection=client)
        assert registry.key == "rq:wip:work"


def test_names_are_those_that_are_known_and_those_that_rq_knows(
    store: RedisServer, broker: Rq
) -> None:
    with store.client(db=1) as client:
        client.sadd("rq:queues", *(f"rq:queue:{name}" for name in ("b", "a", "known")))
        client.set("rq:wip:b", "no sorted set")
        client.rpush("rq:queue:a", b"\xff", "gone")
        client.hset(b"rq:job:\xff", "enqueued_at", b"\xff")
    depths = broker.read(["known", "idle"])
    assert depths is not None
    assert [one.queue for one in depths] == ["known", "idle", "a", "b"]
    assert depths[2] == QueueDepth("rq", "a", {**NONE, "waiting": 2})
    assert depths[3].jobs == NONE


def test_the_stores_server_is_asked_only_where_rq_is_in_use(store: RedisServer) -> None:
    with store.client() as client:
        client.sadd("rq:queues", "rq:queue:work")
    with connection.connect(load({"redis.url": store.url}, environ={})) as client:
        broker = Rq(None, client)
        assert broker.read([]) is None
        depths = broker.read(["mail"])
        assert depths is not None
        assert [one.queue for one in depths] == ["mail", "work"]
        broker.close()


def test_a_user_needs_no_more_than_the_documentation_says(own_redis_server: RedisServer) -> None:
    rules = "+@connection +llen +lindex +zcard +sscan +hget"
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "poll", "on", ">secret", "~rq:*", *rules.split())
        client.sadd("rq:queues", "rq:queue:work")
        client.rpush("rq:queue:work", "job")
        client.hset("rq:job:job", "enqueued_at", "2026-01-02T03:04:05.678901Z")
    broker = Rq(f"redis://poll:secret@127.0.0.1:{own_redis_server.port}/0", None)
    assert one(broker).oldest_at == pytest.approx(1767323045.678901)
    broker.close()
    page = Path(__file__).parents[2] / "docs" / "howto" / "queues.md"
    assert rules in page.read_text()
