"""RQ: acceptance lines S2, S12, S13, S16, S17 and S18 on real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import Run, Signals, Worker, command, produce, rq_worker, wait_for
from tests.serving import Served

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with rq_worker(redis_server, tmp_path_factory.mktemp("worker")) as running:
        yield running


def test_s2_a_job_enqueued_inside_a_command_is_listed_under_its_run(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(
        redis_server,
        command(redis_server, "queue.enqueue(jobs.add, 1)\nqueue.enqueue(jobs.nest, 2)"),
    )
    jobs = run.ended(4)
    with Served(redis_server.url) as served:
        listed = served.data(f"commands/{run.process_id}/jobs")
    assert {job["id"] for job in listed} == set(jobs)
    run.check_counters()


def test_s12_a_record_goes_pending_processing_completed(
    worker: Worker, redis_server: RedisServer
) -> None:
    signals = Signals(redis_server)
    run = Run(
        redis_server,
        command(redis_server, "queue.enqueue(jobs.held, 's12')\nqueue.enqueue(jobs.add, 1)"),
    )
    signals.wait_at("s12")
    wait_for(lambda: [job["status"] for job in run.named("held")] == ["processing"], "processing")
    (waiting,) = run.named("add")
    assert waiting["status"] == "pending"
    assert waiting["created_at"] > 0
    assert waiting["queue"] == "work"
    signals.go("s12")
    run.ended(2)
    (done,) = run.named("add")
    assert done["status"] == "completed"
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    assert done["queue_time"] > 0
    assert done["execution_time"] > 0
    assert (done["queue"], done["class"]) == ("work", "tests.live.apps.rq_jobs.add")


@pytest.mark.parametrize(
    ("frame_count", "functions"), [("3", ["_one", "_two", "_three"]), ("0", [])]
)
def test_s13_a_failed_job_keeps_exactly_the_innermost_frames(
    redis_server: RedisServer, tmp_path: Path, frame_count: str, functions: list[str]
) -> None:
    queue = f"s13-{frame_count}"
    settings = {"JOB_MONITOR_EXCEPTIONS_FRAME_COUNT": frame_count}
    body = f"Queue({queue!r}, connection=connection).enqueue(jobs.fail, 'no')"
    run = Run(redis_server, command(redis_server, body))
    with rq_worker(redis_server, tmp_path, "--burst", queue, ready=False, **settings):
        (job,) = run.ended(1).values()
    assert job["status"] == "failed"
    assert [frame["function"] for frame in job["error"]["frames"]] == functions


def test_s16_and_s17_the_runs_counters_are_sums_over_its_jobs(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(
        redis_server,
        command(
            redis_server,
            """
            for n in range(10):
                queue.enqueue(jobs.add, n)
                queue.enqueue(jobs.fail, "no")
            queue.enqueue(jobs.allocate, 48)
            """,
        ),
    )
    jobs = list(run.ended(21).values())
    counters = run.counters()
    assert int(counters["job_count"]) == 21
    assert int(counters["success_jobs"]) + int(counters["failed_jobs"]) == 21
    assert int(counters["failed_jobs"]) == 10
    assert int(counters["peak_memory"]) == max(job["memory_usage"] for job in jobs)
    total = sum(job["execution_time"] for job in jobs)
    assert float(counters["total_job_time"]) == pytest.approx(total, abs=1e-4)


def test_s18_a_killed_horses_job_is_lost_and_counts_as_failed(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "queue.enqueue(jobs.held, 's18')"))
    os.kill(Signals(redis_server).wait_at("s18"), signal.SIGKILL)
    _is_lost(run)


def test_s18_a_killed_workers_job_is_lost_once_rq_cleans_up(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with rq_worker(redis_server, tmp_path, "s18-worker") as doomed:
        body = "Queue('s18-worker', connection=connection).enqueue(jobs.held, 's18-worker')"
        run = Run(redis_server, command(redis_server, body))
        horse = Signals(redis_server).wait_at("s18-worker")
        doomed.stop(signal.SIGKILL)
        os.kill(horse, signal.SIGKILL)
    # What a worker's maintenance does, without the 90 s that its lease lasts.
    produce(
        redis_server,
        """
        import time
        from rq.registry import StartedJobRegistry
        registry = StartedJobRegistry("s18-worker", connection=connection)
        registry.cleanup(time.time() + 3600)
        """,
    )
    _is_lost(run)


def _is_lost(run: Run) -> None:
    (job,) = run.ended(1).values()
    assert job["status"] == "lost"
    counters = run.counters()
    assert (counters["job_count"], counters["failed_jobs"], counters["lost_jobs"]) == (
        "1",
        "1",
        "1",
    )
