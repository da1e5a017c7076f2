"""Celery on RabbitMQ: what differs from Redis as a broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Signals, Worker, celery_worker, wait_for
from tests.live.rabbitmq import Broker, rabbitmq
from tests.proxy import Proxy

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_canvas"
DELAY_QUEUES = tuple(f"celery_delayed_{level}" for level in range(28))
SINCE_5_5 = pytest.mark.skipif(
    tuple(map(int, celery.__version__.split(".")[:2])) < (5, 5),
    reason="Celery has native delayed delivery since 5.5",
)


class Queues:
    """Names of the queues that the worker consumes from."""

    def __init__(self, broker: Broker) -> None:
        self.plain = broker.queue("plain")
        self.topic = broker.queue("topic")
        self.ranked = broker.queue("ranked")
        self.everybody = broker.queue("everybody")
        self.waiting = broker.queue("waiting")
        """Nobody consumes from it: its messages go to the plain one after their time."""

    def consumed(self) -> str:
        """For ``-Q``."""
        return f"{self.plain},{self.topic},{self.ranked},{self.everybody}"

    def declared(self) -> str:
        """For ``TEST_QUEUES``: name, exchange, its type, routing key, arguments."""
        wait = {
            "x-message-ttl": 100,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.plain,
        }
        return json.dumps(
            [
                [self.plain, self.plain, "direct", self.plain, {}],
                [self.topic, f"{self.topic}-exchange", "topic", "orders.new", {}],
                [self.ranked, self.ranked, "direct", self.ranked, {"x-max-priority": 9}],
                [self.waiting, self.waiting, "direct", self.waiting, wait],
                [self.everybody, self.everybody, "broadcast", "", {}],
            ]
        )


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with rabbitmq() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(broker: Broker) -> Iterator[Proxy]:
    proxy = Proxy(broker.url, 5672)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def queues(broker: Broker) -> Queues:
    queues = Queues(broker)
    broker.delete_later(f"{queues.topic}-exchange")
    return queues


@pytest.fixture(scope="module")
def worker(
    redis_server: RedisServer,
    proxy: Proxy,
    queues: Queues,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    """Reaches the broker through the proxy."""
    with redis_server.client() as client:
        client.flushall()
    conf = {
        "broker_url": proxy.url,
        "task_default_queue": queues.plain,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
    }
    with celery_worker(
        redis_server,
        tmp_path_factory.mktemp("rabbitmq"),
        "--without-heartbeat",
        "-Q",
        queues.consumed(),
        app=APP,
        TEST_CONF=json.dumps(conf),
        TEST_QUEUES=queues.declared(),
    ) as running:
        yield running
        assert "jobmon.instrument" not in running.log, running.log


@pytest.fixture(scope="module")
def producer(
    worker: Worker, redis_server: RedisServer, broker: Broker, queues: Queues
) -> Iterator[Producer]:
    conf = {"broker_url": broker.url, "task_default_queue": queues.plain}
    producer = Producer(
        redis_server, APP, TEST_CONF=json.dumps(conf), TEST_QUEUES=queues.declared()
    )
    yield producer
    producer.close()


@pytest.fixture(scope="module")
def signals(redis_server: RedisServer) -> Signals:
    return Signals(redis_server)


def stored_message(server: RedisServer, job_id: str) -> dict[str, Any]:
    """The message of a failed job, for publishing it again."""
    with server.client() as client:
        return json.loads(client.get(f"jobmon:job:message:{job_id}"))


def test_the_straight_path(producer: Producer, queues: Queues) -> None:
    run, _ = producer.command(
        """
        add.delay(1, 2)
        fail.delay("no")
        nest.delay(1)
        flaky.delay(1)
        """
    )
    run.ended(5)
    run.check_counters()
    assert {job["queue"] for job in run.jobs().values()} == {queues.plain}
    outcomes = {job["class"].rpartition(".")[2]: job["outcome"] for job in run.jobs().values()}
    assert outcomes == {
        "add": "completed",
        "fail": "failed",
        "nest": "completed",
        "flaky": "completed",
    }
    (retried,) = run.named("flaky")
    assert retried["attempt"] == 2
    (earlier,) = run.attempts(retried["id"])
    assert (earlier["queue"], earlier["outcome"]) == (queues.plain, "retried")


def test_queue_time_begins_at_the_eta(producer: Producer) -> None:
    run, _ = producer.command("add.apply_async((1,), countdown=1)\nretry_later.delay(1)")
    run.ended(2)
    run.check_counters()
    for job in run.jobs().values():
        assert job["eta"] == pytest.approx(job["enqueued_at"] + 1, abs=0.2)
        assert job["queue_time"] == pytest.approx(job["started_at"] - job["eta"], abs=1e-5)


@pytest.mark.parametrize(
    "how", ["queue={topic!r}", "exchange={exchange!r}, routing_key='orders.new'"]
)
def test_the_queue_behind_an_exchange_is_recorded(
    producer: Producer, queues: Queues, redis_server: RedisServer, how: str
) -> None:
    options = how.format(topic=queues.topic, exchange=f"{queues.topic}-exchange")
    run, _ = producer.command(f"fail.apply_async(('no',), {options})")
    (job,) = run.ended(1).values()
    assert job["queue"] == queues.topic
    message = stored_message(redis_server, job["id"])
    assert message["queue"] == queues.topic
    assert message["exchange"] == f"{queues.topic}-exchange"
    assert message["routing_key"] == "orders.new"


def test_a_broadcast_is_recorded_by_the_name_that_all_its_queues_share(
    producer: Producer, queues: Queues
) -> None:
    run, _ = producer.command(f"add.apply_async((1,), queue={queues.everybody!r})")
    (job,) = run.ended(1).values()
    assert (job["queue"], job["outcome"]) == (queues.everybody, "completed")


def test_a_message_keeps_its_priority(
    producer: Producer, queues: Queues, redis_server: RedisServer
) -> None:
    run, _ = producer.command(
        f"fail.apply_async(('no',), priority=7, queue={queues.ranked!r})\nfail.delay('no')"
    )
    run.ended(2)
    for job in run.jobs().values():
        message = stored_message(redis_server, job["id"])
        ranked = job["queue"] == queues.ranked
        assert message["properties"].get("priority") == (7 if ranked else 0)
        assert (message["exchange"], message["routing_key"]) == ("", job["queue"])
        assert message["properties"]["correlation_id"] == job["id"]


def test_a_killed_child_whose_message_goes_back_ends_completed(producer: Producer) -> None:
    run, _ = producer.command("killed_once.delay(run.id)")
    (job,) = run.ended(1).values()
    assert (job["outcome"], job["attempt"]) == ("completed", 1)
    run.check_counters()


def test_a_lost_connection_delivers_an_unacknowledged_job_again(
    producer: Producer, proxy: Proxy, signals: Signals, worker: Worker
) -> None:
    """The job runs on meanwhile, so that it runs twice, and is one."""
    run, name = producer.command("held_once.delay(run.id)\nheld.delay(run.id + '-early')", "run.id")
    signals.wait_at(name)
    signals.wait_at(f"{name}-early")
    run.reached(2, {"processing"})
    (before,) = run.named("held_once")
    assert proxy.cut() >= 1
    signals.go(f"{name}-early")  # the pool gets a free child for the second delivery

    def again() -> bool:
        (job,) = run.named("held_once")
        return job["status"] == "completed"

    wait_for(again, "run again", 60)
    (after,) = run.named("held_once")
    assert after["started_at"] > before["started_at"]
    run.ended(2)
    run.check_counters()
    signals.go(name)
    last, _ = producer.command("add.delay(1)")
    last.ended(1)
    (still,) = run.named("held_once")
    # But for the highest memory of both, which the numbers in front keep.
    assert {**still, "x": None} == {**after, "x": None}
    run.check_counters()
    assert "Connection to broker lost" in worker.log


def test_a_producer_whose_connection_is_lost_publishes_once_more(
    redis_server: RedisServer, proxy: Proxy, queues: Queues, worker: Worker
) -> None:
    conf = {"broker_url": proxy.url, "task_default_queue": queues.plain}
    producer = Producer(
        redis_server, APP, TEST_CONF=json.dumps(conf), TEST_QUEUES=queues.declared()
    )
    try:
        producer.command("add.delay(1)")[0].ended(1)
        proxy.cut()
        run, _ = producer.command("add.delay(1)\nadd.delay(2)")
        jobs = run.ended(2, 60)
    finally:
        producer.close()
    assert {job["attempt"] for job in jobs.values()} == {1}
    run.check_counters()


def test_a_message_that_a_dead_letter_exchange_passes_on_keeps_its_record(
    producer: Producer, queues: Queues, redis_server: RedisServer
) -> None:
    run, _ = producer.command(f"fail.apply_async(('no',), queue={queues.waiting!r})")
    (job,) = run.ended(1).values()
    run.check_counters()
    assert (job["outcome"], job["attempt"]) == ("failed", 1)
    assert job["queue"] == queues.waiting  # where it was published to
    assert job["queue_time"] > 0.09
    message = stored_message(redis_server, job["id"])
    assert not [name for name in message["headers"] if name.startswith("x-")]


@SINCE_5_5
def test_native_delayed_delivery_records_the_queue_behind_the_delay(
    redis_server: RedisServer,
    broker: Broker,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    name = broker.queue("delayed")
    broker.delete_later(f"{name}-exchange", *DELAY_QUEUES, "celery_delayed_delivery")
    declared = json.dumps(
        [[name, f"{name}-exchange", "topic", f"{name}.key", {"x-queue-type": "quorum"}]]
    )
    conf = json.dumps(
        {
            "broker_url": broker.url,
            "task_default_queue": name,
            "task_default_exchange": f"{name}-exchange",
            "task_default_exchange_type": "topic",
            "task_default_routing_key": f"{name}.key",
            "broker_native_delayed_delivery_queue_type": "classic",
            "worker_enable_remote_control": False,
        }
    )
    env = {"TEST_CONF": conf, "TEST_QUEUES": declared}
    folder = tmp_path_factory.mktemp("delayed")
    with celery_worker(redis_server, folder, app=APP, **env) as worker:
        producer = Producer(redis_server, APP, **env)
        try:
            run, _ = producer.command(
                f"""
                fail.apply_async(("no",), countdown=1.5)
                add.apply_async((1,), countdown=1.5, queue={name!r})
                retry_later.delay(1.5)
                """
            )
            waiting = [job for job in run.jobs().values() if "eta" in job]
            assert {job["queue"] for job in waiting} <= {name}
            run.ended(3)
        finally:
            producer.close()
        assert "jobmon.instrument" not in worker.log, worker.log
    run.check_counters()
    assert {job["queue"] for job in run.jobs().values()} == {name}
    for job in run.jobs().values():
        assert job["enqueued_at"] + 0.5 < job["eta"] < job["enqueued_at"] + 1.6
        assert job["queue_time"] == pytest.approx(
            max(0.0, job["started_at"] - job["eta"]), abs=1e-5
        )
    (failed,) = run.named("fail")
    message = stored_message(redis_server, failed["id"])
    assert (message["exchange"], message["routing_key"], message["queue"]) == ("", name, name)
