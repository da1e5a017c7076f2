"""A state store that does not answer must not be felt by RQ's producers and workers."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.outage_fixtures import SHUTDOWN_SECONDS, SLACK_SECONDS, check_run_times, hanging
from tests.live.rq_fixtures import JOBS, Producer, Run, Signals, command, rq_worker, wait_for

pytestmark = pytest.mark.live

TIMED = "tests.live.apps.timed_rq_worker.TimedWorker"


@pytest.mark.clock
def test_no_job_takes_longer_and_nothing_waits_to_exit_while_the_store_hangs(
    store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    state = {"JOB_MONITOR_REDIS_URL": own_redis_server.url}

    def run_times(number: int = 40) -> list[float]:
        ids = producer.run(f"said = [queue.enqueue(jobs.add, 1).id for _ in range({number})]")
        with store.client(db=3) as client:
            wait_for(lambda: None not in client.mget(ids), "jobs ran", 60)
            return [float(value) for value in client.mget(ids)]

    def publish() -> float:
        began = time.monotonic()
        command(store, "queue.enqueue(jobs.add, 1)", **state)
        return time.monotonic() - began

    with closing(Producer(store, JOBS, **state)) as producer:
        with rq_worker(store, tmp_path, kind=TIMED, **state) as worker:
            check_run_times(own_redis_server, run_times)
            usual_command = publish()
            usual_worker = worker.stop()
        with rq_worker(store, tmp_path, kind=TIMED, **state) as worker:
            run_times(1)
            with hanging(own_redis_server):
                run_times(5)
                assert publish() <= usual_command + SHUTDOWN_SECONDS + SLACK_SECONDS
                assert worker.stop() <= usual_worker + SHUTDOWN_SECONDS + SLACK_SECONDS
                assert worker.process.returncode == 0, worker.log


def test_after_an_outage_all_that_the_worker_saw_is_there(
    store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    state = {"JOB_MONITOR_REDIS_URL": own_redis_server.url}
    signals = Signals(store)
    with rq_worker(store, tmp_path, **state) as worker:
        run = Run(
            own_redis_server,
            command(
                store,
                """
                queue.enqueue(jobs.held, "frozen")
                for n in range(20): queue.enqueue(jobs.add, n)
                """,
                **state,
            ),
        )
        signals.wait_at("frozen")
        run.reached(21, {"pending", "processing"})
        with hanging(own_redis_server):
            signals.go("frozen")
            wait_for(lambda: worker.log.count("Job OK") == 21, "21 jobs ran")
        run.ended(21)
    run.check_counters()
