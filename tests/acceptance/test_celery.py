"""Celery: acceptance lines S1, S4, S8, S12, S13, S15-S18 on a real prefork worker."""

from __future__ import annotations

import os
import signal
import uuid
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
    produce,
    wait_for,
)
from tests.serving import Served

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with celery_worker(redis_server, tmp_path_factory.mktemp("worker")) as running:
        yield running


def test_s1_a_task_dispatched_inside_a_command_is_listed_under_its_run(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "add.delay(1, 2)\nnest.delay(2)"))
    jobs = run.ended(4)
    with Served(redis_server.url) as served:
        listed = served.data(f"commands/{run.process_id}/jobs")
    assert {job["id"] for job in listed} == set(jobs)
    run.check_counters()


def test_s4_a_task_outside_any_command_is_dispatched_manually(
    worker: Worker, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        before = client.hlen("jobmon:commands:finished"), client.hlen("jobmon:commands:running")
        job_id = produce(redis_server, "print(json.dumps(add.delay(1).id))")
        key = f"jobmon:job:metrics:{job_id}"
        wait_for(lambda: client.hget(key, "status") == b"completed", "job ended")
        stored = {name.decode(): value.decode() for name, value in client.hgetall(key).items()}
        after = client.hlen("jobmon:commands:finished"), client.hlen("jobmon:commands:running")
    assert stored["command_name"] == "manual-dispatch"
    assert stored["process_id"] == job_id
    assert after == before


def test_s8_threads_that_share_a_task_never_mix_their_runs(
    worker: Worker, redis_server: RedisServer
) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    produce(
        redis_server,
        f"""
        import threading
        gate = threading.Barrier(2)
        def dispatch(process_id, x):
            gate.wait()
            for _ in range(50):
                jobmon.track(add).set_command_process_id(process_id).set_command_name(
                    "data:process").delay(x)
        threads = [threading.Thread(target=dispatch, args=(process_id, x))
                   for x, process_id in enumerate([{first!r}, {second!r}])]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """,
    )
    for x, process_id in enumerate((first, second)):
        run = Run(redis_server, process_id)
        jobs = run.ended(50)
        assert {job["command_name"] for job in jobs.values()} == {"data:process"}
        with redis_server.client(db=2) as results:
            stored = [results.get(f"celery-task-meta-{job_id}") for job_id in jobs]
        assert all(f'"result": {x},'.encode() in (value or b"") for value in stored)
        run.check_counters()


def test_s12_a_record_goes_pending_processing_completed(
    worker: Worker, redis_server: RedisServer
) -> None:
    signals = Signals(redis_server)
    run = Run(
        redis_server, command(redis_server, "held.delay('s12')\nheld.delay('s12')\nadd.delay(1)")
    )
    signals.wait_at("s12")
    wait_for(
        lambda: [job["status"] for job in run.named("held")] == ["processing"] * 2, "processing"
    )
    (waiting,) = run.named("add")
    assert waiting["status"] == "pending"
    assert waiting["created_at"] > 0
    assert waiting["queue"] == "celery"
    signals.go("s12")
    run.ended(3)
    (done,) = run.named("add")
    assert done["status"] == "completed"
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    assert done["queue_time"] > 0
    assert done["execution_time"] > 0
    assert (done["queue"], done["class"]) == ("celery", "tests.live.apps.celery_app.add")


@pytest.mark.parametrize(
    ("frame_count", "functions"), [("3", ["_one", "_two", "_three"]), ("0", [])]
)
def test_s13_a_failed_job_keeps_exactly_the_innermost_frames(
    redis_server: RedisServer, tmp_path: Path, frame_count: str, functions: list[str]
) -> None:
    queue = f"s13-{frame_count}"
    settings = {"JOB_MONITOR_EXCEPTIONS_FRAME_COUNT": frame_count}
    with celery_worker(redis_server, tmp_path, "-Q", queue, pool="solo", **settings):
        body = f"fail.apply_async(('no',), queue={queue!r})"
        (job,) = Run(redis_server, command(redis_server, body)).ended(1).values()
    assert job["status"] == "failed"
    assert [frame["function"] for frame in job["error"]["frames"]] == functions


def test_s15_an_autoretry_that_succeeds_is_one_job_one_success_n_attempts(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(redis_server, command(redis_server, "flaky.delay(3)"))
    (job,) = run.ended(1).values()
    assert job["attempt"] == 4
    assert [one["attempt"] for one in run.attempts(job["id"])] == [1, 2, 3]
    counters = run.counters()
    assert (counters["job_count"], counters["success_jobs"], counters["failed_jobs"]) == (
        "1",
        "1",
        "0",
    )


def test_s16_and_s17_the_runs_counters_are_sums_over_its_jobs(
    worker: Worker, redis_server: RedisServer
) -> None:
    run = Run(
        redis_server,
        command(
            redis_server,
            "for n in range(10):\n    add.delay(n)\n    fail.delay('no')\nallocate.delay(48)",
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


def test_s18_a_killed_childs_job_is_lost_and_counts_as_failed(
    worker: Worker, redis_server: RedisServer
) -> None:
    process_id = command(redis_server, "held.delay(run.id)")
    run = Run(redis_server, process_id)
    os.kill(Signals(redis_server).wait_at(process_id), signal.SIGKILL)
    (job,) = run.ended(1).values()
    assert job["status"] == "lost"
    counters = run.counters()
    assert (counters["job_count"], counters["failed_jobs"], counters["lost_jobs"]) == (
        "1",
        "1",
        "1",
    )
