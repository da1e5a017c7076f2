"""Children of a Celery worker that die, run too long, are recycled or stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import (
    Run,
    Signals,
    Worker,
    celery_worker,
    command,
    wait_for,
)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with celery_worker(redis_server, tmp_path_factory.mktemp("prefork")) as running:
        yield running
        assert "jobmon.instrument" not in running.log, running.log


def test_a_killed_child_leaves_its_job_processing_and_then_lost(
    worker: Worker, redis_server: RedisServer
) -> None:
    process_id = command(redis_server, "held.delay(run.id)\nadd.delay(1)")
    run = Run(redis_server, process_id)
    child = Signals(redis_server).wait_at(process_id)
    wait_for(lambda: [job["status"] for job in run.named("held")] == ["processing"], "processing")
    os.kill(child, signal.SIGKILL)
    (job,) = run.named("held")
    assert job["status"] == "processing"
    run.check_counters()
    run.ended(2)
    (job,) = run.named("held")
    assert (job["status"], job["outcome"]) == ("lost", "lost")
    assert job["error"]["class"] == "billiard.exceptions.WorkerLostError"
    assert job["arguments"] == {"args": [process_id], "kwargs": {}}
    assert job["enqueued_at"] <= job["started_at"] < job["finished_at"]
    assert job["worker"].startswith("celery@")
    assert "queue_time" in job
    run.check_counters()


def test_a_job_that_kills_its_child_at_once_was_processing(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "die.delay()"))
    (job,) = run.ended(1).values()
    assert job["status"] == "lost"
    assert job["started_at"] < job["finished_at"]
    run.check_counters()


def test_an_end_arrives_though_its_child_is_killed_in_the_next_instant(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "for _ in range(5):\n    die_after.delay()"))
    jobs = run.ended(5)
    assert {job["outcome"] for job in jobs.values()} == {"completed"}
    run.check_counters()


def test_an_end_beats_the_worker_that_calls_its_job_lost(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Without results Celery cannot know that the job ended before its child died."""
    with celery_worker(
        redis_server, tmp_path, "-Q", "ignoring", TEST_IGNORE_RESULT="1"
    ) as ignoring:
        run = Run(redis_server, command(redis_server, "die_after.apply_async(queue='ignoring')"))
        wait_for(lambda: "WorkerLostError" in ignoring.log, "Celery calls the job lost")
        ignoring.stop()
        (job,) = run.ended(1).values()
        assert job["outcome"] == "completed"
        run.check_counters()


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("hard_limited", "billiard.exceptions.TimeLimitExceeded"),
        ("soft_limited", "billiard.exceptions.SoftTimeLimitExceeded"),
    ],
)
def test_a_job_that_runs_too_long_is_timed_out(
    worker: Worker, redis_server: RedisServer, task: str, error: str
) -> None:
    run = Run(redis_server, command(redis_server, f"{task}.delay()"))
    (job,) = run.ended(1).values()
    assert (job["status"], job["outcome"]) == ("failed", "timed_out")
    assert job["error"]["class"] == error
    assert 0.9 < job["execution_time"] < 10
    run.check_counters()


def test_a_soft_limit_that_the_job_handles_is_no_failure(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "soft_limited_caught.delay()"))
    (job,) = run.ended(1).values()
    assert job["outcome"] == "completed"


def test_errbacks_of_jobs_whose_child_died_stay_under_the_command(
    worker: Worker, redis_server: RedisServer
) -> None:
    body = "ids = [t.apply_async(link_error=nest.si(0)).id for t in (die, hard_limited)]"
    run = Run(redis_server, command(redis_server, body))

    def parents() -> set[str]:
        jobs = run.jobs()
        return {jobs[job["parent_id"]].get("outcome") for job in run.named("nest")}

    wait_for(lambda: parents() == {"lost", "timed_out"}, "errbacks of both")
    # Celery sends those of a hard time limit twice.
    ended = {"completed", "failed", "lost"}
    wait_for(lambda: ended.issuperset(job["status"] for job in run.jobs().values()), "all ended")
    run.check_counters()


def test_a_job_that_leaves_the_interpreter_is_lost(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "leave.delay()"))
    (job,) = run.ended(1).values()
    assert job["status"] == "lost"
    run.check_counters()


def test_recycled_children_lose_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    with celery_worker(
        redis_server, tmp_path, "-Q", "recycling", "--max-tasks-per-child", "3"
    ) as recycling:
        body = "for number in range(60):\n    add.apply_async((number,), queue='recycling')"
        run = Run(redis_server, command(redis_server, body))
        run.ended(60, seconds=60)
        assert len({job["outcome"] for job in run.jobs().values()}) == 1
        run.check_counters()
        recycling.stop()
        assert "jobmon" not in recycling.log


def test_a_redelivered_job_runs_again_under_its_run(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with celery_worker(redis_server, tmp_path, "-Q", "late", "--concurrency", "1") as late:
        body = (
            "killed_once.apply_async((run.id,), queue='late')\n"
            "requeue.apply_async((run.id,), queue='late')\n"
        )
        run = Run(redis_server, command(redis_server, body))
        for job in run.ended(2).values():
            assert (job["attempt"], job["outcome"]) == (1, "completed")
        run.check_counters()
        late.stop()
