"""A state store that does not answer must not be felt by Celery's producers and workers."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Run, Worker, celery_worker, command, produce, wait_for

pytestmark = pytest.mark.live

SHUTDOWN_SECONDS = 2.0
"""``recorder.shutdown_timeout``."""
SLACK_SECONDS = 1.5
"""For the scheduler of a shared machine."""


class Store:
    """A server of its own, that can be stopped without dying."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def stop(self) -> None:
        assert self.server.process is not None
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.server.process is not None
        os.kill(self.server.process.pid, signal.SIGCONT)


@pytest.fixture
def broker(redis_server: RedisServer) -> RedisServer:
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture
def state(own_redis_server: RedisServer) -> Store:
    return Store(own_redis_server)


@pytest.fixture(params=["prefork", "solo", "threads"])
def worker(
    request: pytest.FixtureRequest, broker: RedisServer, state: Store, tmp_path: Path
) -> Iterator[Worker]:
    url = state.server.url
    with celery_worker(broker, tmp_path, pool=request.param, JOB_MONITOR_REDIS_URL=url) as running:
        yield running


def results(broker: RedisServer, job_ids: list[str]) -> set[str]:
    """Celery's own states of these jobs."""
    with broker.client(db=2) as client:
        stored = client.mget([f"celery-task-meta-{job_id}" for job_id in job_ids])
    return {json.loads(value)["status"] if value else "PENDING" for value in stored}


def publish(broker: RedisServer, state: Store, number: int) -> tuple[str, list[str], float]:
    """Publish jobs in a command: its run's id, theirs, and the seconds its process took to end."""
    program = f"""
    with jobmon.command("data:process") as run:
        ids = [add.delay(number).id for number in range({number})]
    print(json.dumps([run.id, ids]))
    """
    began = time.monotonic()
    process_id, job_ids = produce(broker, program, JOB_MONITOR_REDIS_URL=state.server.url)
    return process_id, job_ids, time.monotonic() - began


def test_jobs_run_and_arrive_late_while_the_store_hangs(
    worker: Worker, broker: RedisServer, state: Store
) -> None:
    process_id, first, _ = publish(broker, state, 10)
    wait_for(lambda: results(broker, first) == {"SUCCESS"}, "jobs ran")
    Run(state.server, process_id).ended(10)
    # A second command publishes while the store answers; its jobs run while it does not.
    held = produce(
        broker,
        """
        with jobmon.command("data:process") as run:
            held.delay("outage")
            held.delay("outage")
            ids = [add.delay(number).id for number in range(100)]
        print(json.dumps([run.id, ids]))
        """,
        JOB_MONITOR_REDIS_URL=state.server.url,
    )
    state.stop()
    with broker.client(db=3) as client:
        client.set("go:outage", 1, ex=60)
    wait_for(lambda: results(broker, held[1]) == {"SUCCESS"}, "jobs run without the store")
    state.resume()
    run = Run(state.server, held[0])
    jobs = run.ended(102)
    assert {job["outcome"] for job in jobs.values()} == {"completed"}
    run.check_counters()


@pytest.mark.clock
def test_nothing_waits_for_a_store_that_hangs(
    worker: Worker, broker: RedisServer, state: Store
) -> None:
    _, _, usual = publish(broker, state, 10)
    state.stop()
    try:
        _, job_ids, slow = publish(broker, state, 100)
        assert slow <= usual + SHUTDOWN_SECONDS + SLACK_SECONDS
        wait_for(lambda: results(broker, job_ids) == {"SUCCESS"}, "jobs ran")
        assert worker.stop() <= SHUTDOWN_SECONDS + SLACK_SECONDS + 1
        assert worker.process.returncode == 0
    finally:
        state.resume()


@pytest.mark.clock
def test_no_job_takes_longer_while_the_store_hangs(
    broker: RedisServer, state: Store, tmp_path: Path
) -> None:
    url = state.server.url

    def slowest(stopped: bool) -> float:
        """p99 of a no-op job's run time, in seconds."""
        if stopped:
            state.stop()
        program = "print(json.dumps([add.delay(1).id for _ in range(400)]))"
        try:
            job_ids = produce(broker, program, JOB_MONITOR_REDIS_URL=url)
            wait_for(lambda: results(broker, job_ids) == {"SUCCESS"}, "jobs ran", 60)
        finally:
            state.resume()
        with broker.client(db=3) as client:
            times = sorted(float(value) for value in client.mget(job_ids))
        return times[int(len(times) * 0.99)]

    app = "tests.live.apps.timed_celery_app"
    with celery_worker(broker, tmp_path, app=app, JOB_MONITOR_REDIS_URL=url):
        slowest(False)
        for _ in range(4):  # other work on the machine is no fault of ours
            without, with_outage = slowest(False), slowest(True)
            if with_outage <= without + 0.005:
                return
        pytest.fail(f"p99 {with_outage * 1000:.1f} ms, {without * 1000:.1f} ms without an outage")


def test_a_command_ends_in_time_while_the_store_hangs(broker: RedisServer, state: Store) -> None:
    began = time.monotonic()
    command(broker, "add.delay(1)", JOB_MONITOR_REDIS_URL=state.server.url)
    usual = time.monotonic() - began
    state.stop()
    try:
        began = time.monotonic()
        command(broker, "add.delay(1)", JOB_MONITOR_REDIS_URL=state.server.url)
        assert time.monotonic() - began <= usual + SHUTDOWN_SECONDS + SLACK_SECONDS
    finally:
        state.resume()
