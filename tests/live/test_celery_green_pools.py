"""The pools gevent and eventlet: many jobs of one thread, which take turns wherever they wait."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Run, Signals, Worker, celery_worker, wait_for

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_canvas"
since_5_7 = pytest.mark.skipif(
    tuple(map(int, celery.__version__.split(".")[:2])) < (5, 7), reason="acks_on_timeout"
)


@pytest.fixture(scope="module", params=["gevent", "eventlet"])
def pool(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def worker(
    pool: str, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp(pool)
    with celery_worker(redis_server, folder, "-c", "10", pool=pool, app=APP) as running:
        yield running
        assert "jobmon.instrument" not in running.log, running.log


@pytest.fixture(scope="module")
def producer(worker: Worker, redis_server: RedisServer) -> Iterator[Producer]:
    producer = Producer(redis_server, APP)
    yield producer
    producer.close()


@pytest.fixture(scope="module")
def signals(redis_server: RedisServer) -> Signals:
    return Signals(redis_server)


def only(run: Run, name: str) -> dict[str, Any]:
    (job,) = run.named(name)
    return job


def test_jobs_that_take_turns_publish_each_for_itself(producer: Producer) -> None:
    run, sent = producer.command(
        "ids = [publish_between.delay(run.id, number).id for number in range(2)]", "ids"
    )
    run.ended(8)
    run.check_counters()
    for job in run.named("add"):
        number = int(job["id"].split("-")[-2])
        assert (job["parent_id"], job["root_id"]) == (sent[number], sent[number])


def test_two_commands_at_a_time_do_not_mix(producer: Producer) -> None:
    first, _ = producer.command("publish_between.delay(run.id, 0)")
    second, _ = producer.command(f"publish_between.delay({first.process_id!r}, 1)")
    for run, number in ((first, 0), (second, 1)):
        jobs = run.ended(4)
        run.check_counters()
        assert {job_id.split("-")[-2] for job_id in jobs if job_id.count("-") > 4} == {str(number)}
        assert len(run.named("publish_between")) == 1


def test_a_greenlet_that_a_job_spawns_publishes_for_it(producer: Producer, pool: str) -> None:
    if pool == "eventlet":
        return  # nothing tells who spawned a greenlet there
    run, _ = producer.command(
        """
        for number in range(3):
            publish_in_greenlet.delay(number)
        """
    )
    run.ended(9)
    run.check_counters()
    for parent in run.named("publish_in_greenlet"):
        children = [job for job in run.named("add") if job["parent_id"] == parent["id"]]
        assert len(children) == 2


def test_retries_chains_and_chords_stay_under_the_command(producer: Producer) -> None:
    run, _ = producer.command(
        """
        from celery import chain, chord
        chain(add.s(1, 1), flaky.si(1), add.si(1)).delay()
        chord([add.s(1), add.s(2)])(total.s())
        fail.apply_async(("no",), link_error=[report.s(), explain.s()])
        """
    )
    run.ended(9)
    run.check_counters()
    failed = only(run, "fail")
    assert only(run, "report")["parent_id"] == failed["id"]
    assert len([job for job in run.named("add") if job.get("parent_id") == failed["id"]]) == 1


def test_an_exit_fails_its_job_and_no_other(
    producer: Producer, signals: Signals, worker: Worker
) -> None:
    run, name = producer.command("held.delay(run.id)", "run.id")
    signals.wait_at(name)
    left, _ = producer.command("leave.delay()")
    (job,) = left.ended(1).values()
    assert job["outcome"] == "failed"
    assert job["error"]["class"] == "SystemExit"
    left.check_counters()
    signals.go(name)
    run.ended(1)
    assert only(run, "held")["outcome"] == "completed"
    assert worker.process.poll() is None


def test_a_hard_time_limit(producer: Producer, pool: str) -> None:
    run, _ = producer.command("nap.apply_async((2,), time_limit=0.5)")
    (job,) = run.ended(1).values()
    run.check_counters()
    if pool == "eventlet":  # Celery has no limits there
        assert job["outcome"] == "completed"
    else:
        assert (job["status"], job["outcome"]) == ("failed", "timed_out")
        assert 0.4 < job["execution_time"] < 1.9
        assert job["error"]["class"] == "gevent.timeout.Timeout"


@since_5_7
def test_a_hard_time_limit_after_which_the_job_is_delivered_again(
    producer: Producer, pool: str
) -> None:
    if pool == "eventlet":
        return  # no limits
    run, _ = producer.command("slow_once.delay(run.id)")
    (job,) = run.ended(1).values()
    assert (job["outcome"], job["attempt"]) == ("completed", 1)
    run.check_counters()


def test_a_timeout_of_the_pools_own_library_ends_its_job(producer: Producer, pool: str) -> None:
    """It is no Exception, and Celery says nothing of it: the result stays pending."""
    run, _ = producer.command(f"exceed.delay({pool!r})")
    run.ended(1)
    run.check_counters()
    assert only(run, "exceed")["outcome"] == "timed_out"


def test_a_running_job_is_terminated(producer: Producer, signals: Signals) -> None:
    run, sent = producer.command("job = held.delay(run.id)", "[job.id, run.id]")
    job_id, name = sent
    signals.wait_at(name)
    run.reached(1, {"processing"})
    producer.run(
        f"""
        import socket
        at = ["celery@" + socket.gethostname()]
        said = app.control.revoke(
            {job_id!r}, terminate=True, destination=at, reply=True, timeout=60
        )
        assert said, "nobody has heard it"
        """
    )
    run.reached(1, {"revoked"})
    run.check_counters()
    last, _ = producer.command("add.delay(1)")
    last.ended(1)
    assert only(run, "held")["status"] == "revoked"


def test_a_store_that_hangs_does_not_stop_the_turns(
    pool: str, redis_server: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    """The flusher is a greenlet there as well: it waits, and the others go on."""
    store = own_redis_server
    assert store.process is not None
    env = {"JOB_MONITOR_REDIS_URL": store.url, "JOB_MONITOR_REDIS_RECORD_TIMEOUT": "5"}
    with celery_worker(
        redis_server, tmp_path, "-c", "10", "-Q", "hung", pool=pool, app=APP, **env
    ) as worker:
        producer = Producer(redis_server, APP, **env)
        try:
            run, _ = producer.command("add.apply_async((1,), queue='hung')")
            Run(store, run.process_id).ended(1)
            os.kill(store.process.pid, signal.SIGSTOP)
            try:
                run, job_ids = producer.command(
                    """
                    ids = [add.apply_async((number,), queue="hung").id for number in range(50)]
                    ids += [longest_wait.apply_async((100,), queue="hung").id for _ in range(3)]
                    """,
                    "ids",
                )
                longest = [
                    wait_for(lambda job_id=job_id: result(redis_server, job_id), "ran")["result"]
                    for job_id in job_ids
                ][-3:]
            finally:
                os.kill(store.process.pid, signal.SIGCONT)
            assert max(longest) < 2.5  # of the 5 s that a call waits for its answer
            run = Run(store, run.process_id)
            run.ended(53)
            run.check_counters()
        finally:
            producer.close()
        assert "jobmon.instrument" not in worker.log, worker.log


def result(broker: RedisServer, job_id: str) -> dict[str, Any] | None:
    """What Celery's backend has of a job that succeeded."""
    with broker.client(db=2) as client:
        stored = client.get(f"celery-task-meta-{job_id}")
    found = json.loads(stored) if stored else {}
    return found if found.get("status") == "SUCCESS" else None
