"""TrackableJob and track: said before the publish, known while the job runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path
from typing import Any

import pytest

import jobmon
from tests.conftest import RedisServer

ROOT = Path(__file__).parents[2]
RUN = "71c40000-0000-4000-8000-000000000000"
OTHER = "71c40000-0000-4000-8000-00000000000f"


def script(store: RedisServer, text: str, **env: str) -> str:
    """Run a program that uses ``tracked_jobs``; what it prints."""
    program = "import jobmon\njobmon.instrument()\nfrom tests.instrument.tracked_jobs import *\n"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program + textwrap.dedent(text)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TEST_URL": store.url,
            "JOB_MONITOR_REDIS_URL": store.url,
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def records(store: RedisServer, process_id: str) -> list[dict[str, Any]]:
    """Records of a run's jobs, oldest first."""
    with store.client() as client:
        found = [json.loads(one) for one in client.hvals(f"jobmon:command:{process_id}:jobs")]
    return sorted(found, key=lambda record: record["created_at"])


def told(store: RedisServer) -> list[dict[str, Any]]:
    """What running jobs told of themselves."""
    with store.client() as client:
        return [json.loads(one) for one in client.lrange("told", 0, -1)]


def test_setters_check_what_they_get_and_return_the_builder() -> None:
    tracked = jobmon.track(print)
    assert tracked.command_process_id is tracked.command_name is tracked.job_type is None
    for bad in ("nope", RUN.replace("-", ""), f"{{{RUN}}}", 7, ""):
        with pytest.raises(ValueError, match="process id must be a UUID"):
            tracked.set_command_process_id(bad)  # type: ignore[arg-type]
    assert tracked.set_command_process_id(uuid.UUID(RUN)) is tracked
    assert tracked.command_process_id == RUN
    assert tracked.set_command_process_id(OTHER.upper()).command_process_id == OTHER
    assert tracked.set_command_name("  ").command_name == "manual-dispatch"
    for name in ("x" * 256, "a\x00b"):
        with pytest.raises(ValueError, match="name"):
            tracked.set_command_name(name)
    assert tracked.set_job_type("nightly").job_type == "nightly"
    for kind in ("x" * 65, "a\nb"):
        with pytest.raises(ValueError, match="type"):
            tracked.set_job_type(kind)
    assert tracked.generate_command_name() == "manual-dispatch"
    assert uuid.UUID(tracked.generate_process_id()).version == 4


def test_of_several_marks_the_first_counts() -> None:
    tracked = jobmon.track(print)
    assert tracked.get_queue_time() is None
    created = tracked.mark_job_created().job_created_at
    assert tracked.mark_job_created().job_created_at == created
    assert tracked.get_queue_time() is None
    started = tracked.mark_job_started().job_started_at
    assert tracked.mark_job_started().job_started_at == started
    queue_time = tracked.get_queue_time()
    assert queue_time is not None
    assert 0 <= queue_time < 1


def test_setters_of_a_job_itself_give_builders_and_leave_it_untouched() -> None:
    class Job(jobmon.TrackableJob):
        pass

    job = Job()
    tracked = job.set_command_process_id(RUN).set_command_name("x").set_job_type("y")
    assert (tracked.command_process_id, tracked.command_name, tracked.job_type) == (RUN, "x", "y")
    assert vars(job) == {}
    assert job.command_process_id is None
    assert job.get_queue_time() is None
    assert job.mark_job_started() is job
    assert Job.track().command_process_id is None


def test_what_cannot_be_published_says_so() -> None:
    with pytest.raises(TypeError, match=r"has no delay\(\)"):
        jobmon.track(len).delay()


@pytest.mark.live
def test_a_celery_task_class_links_its_job_and_knows_itself(store: RedisServer) -> None:
    script(
        store,
        f"""
        Report.track().set_command_process_id({RUN!r}).set_command_name("data:process") \\
            .set_job_type("nightly").mark_job_created().delay(1)
        work_celery()
        """,
    )
    (record,) = records(store, RUN)
    assert record["status"] == "completed"
    assert (record["command_name"], record["job_type"]) == ("data:process", "nightly")
    (job,) = told(store)
    assert (job["process_id"], job["command"], job["type"]) == (RUN, "data:process", "nightly")
    assert job["created"] == record["created_at"] <= record["enqueued_at"]
    assert job["started"] == job["again"] == pytest.approx(record["started_at"], abs=1e-6)
    assert job["queue_time"] == pytest.approx(job["started"] - job["created"])


@pytest.mark.live
def test_jobs_started_inside_inherit_and_a_base_class_is_enough(store: RedisServer) -> None:
    script(
        store,
        f"""
        based.track().set_command_process_id({RUN!r}).set_command_name("x").delay(1)
        work_celery()
        """,
    )
    found = records(store, RUN)
    assert [record["class"] for record in found] == ["tracked.based", "tracked.report"]
    assert {record["command_name"] for record in found} == {"x"}


@pytest.mark.live
def test_threads_that_share_a_task_never_mix_their_runs(store: RedisServer) -> None:
    printed = script(
        store,
        """
        import threading
        barrier = threading.Barrier(4)
        runs = {}
        def publish(name):
            tracked = report.track().set_command_process_id(None).set_command_name(name)
            runs[name] = tracked.command_process_id
            barrier.wait()
            for _ in range(25):
                tracked.delay(1)
        threads = [threading.Thread(target=publish, args=(f"c{n}",)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not [name for name in vars(report) if "process" in name or "command" in name]
        print(json.dumps(runs))
        """,
    )
    for name, run in json.loads(printed).items():
        found = records(store, run)
        assert len(found) == 25
        assert {record["command_name"] for record in found} == {name}


@pytest.mark.live
def test_a_signature_carries_what_was_said_into_a_chain(store: RedisServer) -> None:
    script(
        store,
        f"""
        first = plain.s(1)
        last = jobmon.track(report).set_command_process_id({OTHER!r}).set_command_name("late").s()
        with jobmon.command("around") as run:
            (first | last).delay()
        work_celery()
        """,
    )
    (record,) = records(store, OTHER)
    assert (record["class"], record["status"]) == ("tracked.report", "completed")
    assert record["command_name"] == "late"


@pytest.mark.live
def test_what_is_said_wins_over_the_command_around(store: RedisServer) -> None:
    run = script(
        store,
        f"""
        with jobmon.command("around") as run:
            report.track().set_command_process_id({RUN!r}).delay(1)
            report.track().set_command_process_id(run.id).delay(2)
            report.track().set_command_name("around").delay(3)
            tracked = report.track().set_command_name("said")
            tracked.delay(4)
            report.track().set_job_type("kind").delay(5)
        print(run.id)
        """,
    )
    with store.client() as client:
        (manual,) = client.keys("jobmon:job:metrics:*")
        kept = client.hmget(manual, "process_id", "command_name")
    assert kept == [RUN.encode(), b"manual-dispatch"]
    found = records(store, run)
    assert {record["command_name"] for record in found} == {"around"}
    assert len(found) == 3
    assert found[-1]["job_type"] == "kind"


@pytest.mark.live
def test_an_rq_class_and_an_rq_function_are_tracked_alike(store: RedisServer) -> None:
    script(
        store,
        f"""
        import datetime
        said = lambda job: jobmon.track(job).set_command_process_id({RUN!r}).set_command_name("x")
        Ingest.track().set_command_process_id({RUN!r}).set_command_name("x").enqueue(queue(), 3)
        said(double).enqueue(queue(), 4)
        said(double).enqueue_in(queue(), datetime.timedelta(hours=1), 5)
        said(double).enqueue_at(queue(), datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC), 6)
        work_rq()
        """,
    )
    found = records(store, RUN)
    assert {record["command_name"] for record in found} == {"x"}
    assert sorted(record["class"].rpartition(".")[2] for record in found) == [
        "double", "double", "double", "double", "perform",
    ]  # fmt: skip
    assert sorted(record["status"] for record in found) == ["completed"] * 3 + ["pending"] * 2
    (job,) = told(store)
    assert (job["process_id"], job["command"]) == (RUN, "x")
    assert job["queue_time"] >= 0


@pytest.mark.live
def test_with_correlation_off_jobs_are_published_unchanged(store: RedisServer) -> None:
    printed = script(
        store,
        """
        report.track().set_command_process_id(None).delay(1)
        jobmon.track(double).set_command_name("x").enqueue(queue(), 1)
        with redis.Redis.from_url(URL) as client:
            print(client.llen("celery"), len(queue()), "jobmon" in json.loads(
                client.lindex("celery", 0))["headers"])
        """,
        JOB_MONITOR_MONITORING_JOB_CORRELATION_ENABLED="false",
    )
    assert printed == "1 1 False"
