"""A state store that does not answer must not be felt by Celery's producers and workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Run, Worker, celery_worker, produce, wait_for
from tests.live.outage_fixtures import SHUTDOWN_SECONDS, SLACK_SECONDS, check_run_times, hanging

pytestmark = pytest.mark.live


@pytest.fixture
def broker(redis_server: RedisServer) -> RedisServer:
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture
def state(own_redis_server: RedisServer) -> RedisServer:
    return own_redis_server


@pytest.fixture(params=["prefork", "solo", "threads"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def working(broker: RedisServer, state: RedisServer, folder: Path, pool: str) -> Iterator[Worker]:
    with celery_worker(broker, folder, pool=pool, JOB_MONITOR_REDIS_URL=state.url) as running:
        yield running


def results(broker: RedisServer, job_ids: list[str]) -> set[str]:
    """Celery's own states of these jobs."""
    with broker.client(db=2) as client:
        stored = client.mget([f"celery-task-meta-{job_id}" for job_id in job_ids])
    return {json.loads(value)["status"] if value else "PENDING" for value in stored}


def publish(broker: RedisServer, state: RedisServer, number: int) -> tuple[str, list[str], float]:
    """Publish jobs in a command: its run's id, theirs, and the seconds its process took to end."""
    program = f"""
    with jobmon.command("data:process") as run:
        ids = [add.delay(number).id for number in range({number})]
    print(json.dumps([run.id, ids]))
    """
    began = time.monotonic()
    process_id, job_ids = produce(broker, program, JOB_MONITOR_REDIS_URL=state.url)
    return process_id, job_ids, time.monotonic() - began


def test_jobs_run_and_arrive_late_while_the_store_hangs(
    pool: str, broker: RedisServer, state: RedisServer, tmp_path: Path
) -> None:
    with working(broker, state, tmp_path, pool):
        process_id, first, _ = publish(broker, state, 10)
        wait_for(lambda: results(broker, first) == {"SUCCESS"}, "jobs ran")
        Run(state, process_id).ended(10)
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
            JOB_MONITOR_REDIS_URL=state.url,
        )
        with hanging(state):
            with broker.client(db=3) as client:
                client.set("go:outage", 1, ex=60)
            wait_for(lambda: results(broker, held[1]) == {"SUCCESS"}, "jobs run without the store")
        run = Run(state, held[0])
        jobs = run.ended(102)
        assert {job["outcome"] for job in jobs.values()} == {"completed"}
        run.check_counters()


@pytest.mark.clock
def test_nothing_waits_for_a_store_that_hangs(
    pool: str, broker: RedisServer, state: RedisServer, tmp_path: Path
) -> None:
    with working(broker, state, tmp_path, pool) as worker:
        _, job_ids, usual_command = publish(broker, state, 100)
        wait_for(lambda: results(broker, job_ids) == {"SUCCESS"}, "jobs ran")
        usual_worker = worker.stop()
    with working(broker, state, tmp_path, pool) as worker, hanging(state):
        _, job_ids, slow_command = publish(broker, state, 100)
        assert slow_command <= usual_command + SHUTDOWN_SECONDS + SLACK_SECONDS
        wait_for(lambda: results(broker, job_ids) == {"SUCCESS"}, "jobs ran")
        assert worker.stop() <= usual_worker + SHUTDOWN_SECONDS + SLACK_SECONDS
        assert worker.process.returncode == 0


@pytest.mark.clock
def test_no_job_takes_longer_while_the_store_hangs(
    broker: RedisServer, state: RedisServer, tmp_path: Path
) -> None:
    def run_times() -> list[float]:
        job_ids = producer.run("said = [add.delay(1).id for _ in range(200)]")
        with broker.client(db=3) as client:
            wait_for(lambda: None not in client.mget(job_ids), "jobs ran", 60)
            assert results(broker, job_ids) == {"SUCCESS"}
            return [float(value) for value in client.mget(job_ids)]

    app = "tests.live.apps.timed_celery_app"
    settings = {"JOB_MONITOR_REDIS_URL": state.url}
    with (
        closing(Producer(broker, **settings)) as producer,
        celery_worker(broker, tmp_path, app=app, **settings),
    ):
        check_run_times(state, run_times)
