"""Failed jobs of Celery run again, on real workers: Redis, and RabbitMQ's kinds of queues."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import celery
import kombu
import pytest

from jobmon.retry.errors import PerhapsPushedError, QueueUnavailable
from jobmon.retry.pusher import Pusher
from jobmon.retry.retrier import Retrier
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.databases import made
from tests.history.copied import copies
from tests.live.celery_fixtures import Producer, Run, celery_worker, wait_for
from tests.live.rabbitmq import Broker, rabbitmq
from tests.retry.failing import Failing, failure

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_retries"
QUORUM = tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 5)
"""Whether this Celery can consume from a quorum queue."""
DELAYS = tuple(f"celery_delayed_{level}" for level in range(28))
"""What a worker declares that consumes from a quorum queue."""


@dataclass
class Live:
    """A worker on one kind of broker."""

    failing: Failing
    retrier: Retrier
    producer: Producer
    queues: dict[str, str]

    def publish(self, how: str, queue: str, options: str = "", what: str = "") -> tuple[Run, str]:
        name = f"{queue}-{time.monotonic_ns()}"
        return self.producer.command(
            f"job = once.apply_async(({name!r}, {how!r} {what}), {options})", "job.id"
        )

    def fails(self, run: Run, job_id: str, outcome: str) -> None:
        self.reaches(run, job_id, outcome)
        wait_for(lambda: self.failing.copies.copy_failures().failed, "its row")

    def reaches(self, run: Run, job_id: str, outcome: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            record = run.jobs().get(job_id)
            return record if record is not None and record.get("outcome") == outcome else None

        return wait_for(reached, f"{outcome}: {run.jobs()}", 40)


def live(
    server: RedisServer,
    folder: Any,
    broker: str,
    queues: dict[str, str],
    declared: list[Any],
    conf: dict[str, Any],
) -> Iterator[Live]:
    with server.client() as client:
        client.flushall()
    env = {"TEST_CONF": json.dumps({"broker_url": broker, **conf}), "C_FORCE_ROOT": "1"}
    if declared:
        env["TEST_QUEUES"] = json.dumps(declared)
    # Each node has a queue of its own name on RabbitMQ.
    consumed = ["-Q", ",".join(queues.values()), "-n", f"retries-{os.getpid()}@%h"]
    with (
        made("sqlite", folder) as database,
        copies(server, database) as copied,
        celery_worker(server, folder, *consumed, app=APP, **env) as worker,
    ):
        producer = Producer(server, APP, **env)
        failing = Failing(server, database, copied.engine, copied, broker)
        yield Live(failing, failing.retrier(), producer, queues)
        producer.close()
        failing.recorded.close()
        assert "jobmon: " not in worker.log, worker.log


@pytest.fixture(scope="module")
def amqp() -> Iterator[Broker]:
    with rabbitmq() as found:
        yield found


@pytest.fixture(scope="module")
def on_redis(redis_server: RedisServer, tmp_path_factory: Any) -> Iterator[Live]:
    broker = f"{redis_server.url.rsplit('/', 1)[0]}/1"
    folder = tmp_path_factory.mktemp("redis")
    yield from live(redis_server, folder, broker, {"plain": "celery"}, [], {})


@pytest.fixture(scope="module")
def on_rabbitmq(redis_server: RedisServer, amqp: Broker, tmp_path_factory: Any) -> Iterator[Live]:
    queues = {name: amqp.queue(name) for name in ("plain", "quorum", "ranked", "topic")}
    amqp.delete_later(f"{queues['topic']}-exchange", "celery_delayed_delivery", *DELAYS)
    kind = {"x-queue-type": "quorum"} if QUORUM else {}
    declared = [
        [queues["plain"], queues["plain"], "direct", queues["plain"], {}],
        [queues["quorum"], queues["quorum"], "direct", queues["quorum"], kind],
        [queues["ranked"], queues["ranked"], "direct", queues["ranked"], {"x-max-priority": 9}],
        [queues["topic"], f"{queues['topic']}-exchange", "topic", "orders.*", {}],
    ]
    conf = {
        "task_default_queue": queues["plain"],
        "broker_transport_options": {"confirm_publish": True},
        "broker_native_delayed_delivery_queue_type": "classic",  # as other tests declare them
    }
    folder = tmp_path_factory.mktemp("rabbitmq")
    yield from live(redis_server, folder, amqp.url, queues, declared, conf)


ENDS = {
    "json": ("raise", "", "", "failed"),
    "pickle": ("raise", "serializer='pickle', link=add.s(1)", ", Parcel(3)", "failed"),
    "compressed": ("raise", "compression='zlib'", ", 'x' * 5000", "failed"),
    "urgent": ("raise", "priority=5", "", "failed"),
    "late": ("raise", "countdown=0.1, expires=20", "", "failed"),
    "hung": ("hang", "time_limit=1", "", "timed_out"),
    "killed": ("kill", "", "", "lost"),
    "rejected": ("reject", "", "", "rejected"),
}
"""How a job ends the first time, how it is published, what with, and its outcome then."""


def runs_again(live: Live, run: Run, job_id: str, outcome: str) -> None:
    live.fails(run, job_id, outcome)
    live.retrier.retry(job_id, "ann")
    assert live.failing.rows() == []
    record = live.reaches(run, job_id, "completed")
    assert (record["attempt"], record["retried_by"]) == (2, "ann")
    assert record["retried_at"] <= record["started_at"]
    run.check_counters()
    assert [one["outcome"] for one in run.attempts(job_id)] == [outcome]


@pytest.mark.parametrize("name", ENDS)
def test_a_job_on_redis_runs_again(on_redis: Live, name: str) -> None:
    how, options, what, outcome = ENDS[name]
    run, job_id = on_redis.publish(how, "celery", f"queue='celery', {options}", what)
    runs_again(on_redis, run, job_id, outcome)
    with on_redis.failing.server.client(db=2) as client:
        stored = wait_for(lambda: client.get(f"celery-task-meta-{job_id}"), "a result")
    assert json.loads(stored)["result"] == (6 if name == "pickle" else 0)
    if name == "pickle":
        wait_for(lambda: [job["status"] for job in run.named("add")] == ["completed"], "its link")


@pytest.mark.parametrize("name", ["json", "pickle", "compressed", "late", "killed"])
def test_a_job_on_rabbitmq_runs_again(on_rabbitmq: Live, name: str) -> None:
    how, options, what, outcome = ENDS[name]
    queue = on_rabbitmq.queues["plain"]
    run, job_id = on_rabbitmq.publish(how, queue, f"queue={queue!r}, {options}", what)
    runs_again(on_rabbitmq, run, job_id, outcome)


@pytest.mark.parametrize(
    ("queue", "options"),
    [
        pytest.param(
            "quorum", "", marks=pytest.mark.skipif(not QUORUM, reason="Celery can since 5.5")
        ),
        ("ranked", ", priority=7"),
        ("topic", ", routing_key='orders.new'"),
    ],
)
def test_a_queue_of_each_kind_is_pushed_onto(on_rabbitmq: Live, queue: str, options: str) -> None:
    own = on_rabbitmq.queues[queue]
    where = f"exchange='{own}-exchange'" if queue == "topic" else f"queue={own!r}"
    run, job_id = on_rabbitmq.publish("raise", own, where + options)
    runs_again(on_rabbitmq, run, job_id, "failed")


def test_a_queue_that_is_gone_is_told_and_the_row_stays(on_rabbitmq: Live, amqp: Broker) -> None:
    failing = on_rabbitmq.failing
    run = failing.run()
    (job_id,) = failing.fail(run, queue=amqp.queue("gone"))
    with pytest.raises(QueueUnavailable):
        on_rabbitmq.retrier.retry(job_id, "ann")
    (row,) = failing.rows()
    assert row["claimed_by"] is None
    on_rabbitmq.retrier.delete(job_id)


def test_a_queue_that_vanishes_while_many_are_pushed_loses_none(
    on_rabbitmq: Live, amqp: Broker
) -> None:
    """The second push knows the queue, and the broker sends it back."""
    failing = on_rabbitmq.failing
    queue = amqp.queue("vanishing")
    run = failing.run()
    with kombu.Connection(amqp.url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        ids = failing.fail(run, 3, queue=queue)
        push = Pusher.push

        def vanishing(self: Pusher, failure: Any, claim: Any) -> None:
            push(self, failure, claim)
            channel.queue_delete(queue)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pusher, "push", vanishing)
            with pytest.raises(QueueUnavailable):
                on_rabbitmq.retrier.retry_all(run.id, "ann")
    left = [row["uuid"] for row in failing.rows()]
    assert len(left) == 2
    assert set(left) < set(ids)
    for job_id in left:
        on_rabbitmq.retrier.delete(job_id)


def test_a_revoked_id_is_refused_and_another_runs_in_its_place(on_rabbitmq: Live) -> None:
    failing = on_rabbitmq.failing
    queue = on_rabbitmq.queues["plain"]
    run, job_id = on_rabbitmq.publish("raise", queue, f"queue={queue!r}")
    on_rabbitmq.fails(run, job_id, "failed")
    on_rabbitmq.producer.run(f"app.control.revoke({job_id!r})\nsaid = None")
    on_rabbitmq.retrier.retry(job_id, "ann")
    on_rabbitmq.reaches(run, job_id, "revoked")
    # It fails under its id once more, as a job that is published anew would in another worker.
    own = failing.run()
    own.id = run.process_id
    first = run.attempts(job_id)[0]
    again = failure(own, job_id, attempt=3, queue=queue, message=lambda *_: b"")
    kept = json.loads(failing.client.get(f"jobmon:job:message:{job_id}") or b"")
    failing.recorded.write(again._replace(message=json.dumps(kept).encode()))
    wait_for(lambda: failing.copies.copy_failures().failed, "its row")
    on_rabbitmq.retrier.retry(job_id, "ann")

    def replaced() -> dict[str, Any] | None:
        for record in run.jobs().values():
            if record.get("retry_of") == job_id and record["status"] == "completed":
                return record
        return None

    record = wait_for(replaced, f"{run.jobs()}")
    assert record["id"] != job_id
    assert record["class"] == first["class"]
    assert failing.rows() == []


def test_a_broker_that_takes_it_and_says_nothing_leaves_it_open(
    failing: Failing, own_redis_server: RedisServer
) -> None:
    broker = own_redis_server.url
    settings = load({"redis.url": failing.server.url, "celery.broker_url": broker}, environ={})
    run = failing.run()
    (job_id,) = failing.fail(run)
    retrier = Retrier(failing.client, failing.engine, settings, claim_seconds=0)
    with own_redis_server.client() as client:
        client.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")
        with pytest.raises(PerhapsPushedError):
            retrier.retry(job_id, "ann")
        assert failing.rows()[0]["claimed_by"].endswith(" ann")
        client.execute_command("CLIENT", "UNPAUSE")
        waited = client.llen("jobs")
        try:
            retrier.retry(job_id, "ben")
        except Exception:
            assert waited == 1
        assert client.llen("jobs") == 1
    assert failing.rows() == []
