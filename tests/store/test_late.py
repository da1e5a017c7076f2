"""Jobs that run or wait for too long are found, and nobody else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jobmon.model import Stage, Status
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.reader import Reader
from tests.metrics.conftest import Sampled, sampled
from tests.serving import Recorded, Run, Served, environment

__all__ = ["sampled"]

HOUR = 3600.0


@pytest.fixture
def reader(recorded: Recorded) -> Iterator[Reader]:
    settings = load(
        {
            "redis.url": recorded.settings.redis.url,
            "late.pending_seconds": 600,
            "late.processing_seconds": 1800,
        },
        environ={},
    )
    with connection.connect(settings) as client:
        yield Reader(client, settings)


def tell(recorded: Recorded, run: Run, job_id: str, status: Status, age: float, **more: Any) -> str:
    """A job that has had that status for that many seconds."""
    stage = Stage.STARTED if status is Status.PROCESSING else Stage.ENQUEUED
    one = run.transition(job_id, status, stage, **more)
    recorded.write(one._replace(at_ms=int((time.time() - age) * 1000)))
    return job_id


def test_those_that_run_or_wait_for_too_long_are_listed_oldest_first(
    recorded: Recorded, reader: Reader
) -> None:
    run = recorded.run("data:process")
    tell(recorded, run, "fresh", Status.PENDING, 500)
    tell(recorded, run, "waits", Status.PENDING, 700, queue="mail", job_name="app.mail")
    tell(recorded, run, "again", Status.RETRYING, 800)
    tell(recorded, run, "runs", Status.PROCESSING, 1700)
    tell(recorded, run, "stuck", Status.PROCESSING, 2 * HOUR, worker="w@1", queue="mail")
    tell(recorded, run, "later", Status.PENDING, -HOUR)
    found = reader.late_jobs()
    assert (found.pending, found.processing) == (2, 1)
    assert [one.job_id for one in found.jobs] == ["stuck", "again", "waits"]
    stuck, again, waits = found.jobs
    assert (stuck.status, stuck.worker, stuck.process_id, stuck.command) == (
        *("processing", "w@1", run.id, "data:process"),
    )
    assert 2 * HOUR <= stuck.seconds < 2 * HOUR + 60
    assert (again.status, waits.queue, waits.job_name) == ("retrying", "mail", "app.mail")


def test_a_list_is_as_long_as_asked_for_and_the_counts_are_of_all(
    recorded: Recorded, reader: Reader
) -> None:
    run = recorded.run("data:process")
    for number in range(30):
        queue = f"queue-{number % 3}"
        tell(recorded, run, f"{number:02}", Status.PENDING, HOUR + number, queue=queue)
    found = reader.late_jobs(4)
    assert (found.pending, found.processing) == (30, 0)
    assert [one.job_id for one in found.jobs] == ["29", "28", "27", "26"]


def test_one_without_a_record_or_with_a_strange_one_is_left_out(
    recorded: Recorded, reader: Reader
) -> None:
    run = recorded.run("data:process")
    for job_id in ("good", "gone", "cut", "ended"):
        tell(recorded, run, job_id, Status.PENDING, HOUR)
    jobs = f"jobmon:command:{run.id}:jobs"
    with recorded.client() as client:
        client.hdel(jobs, "gone")
        client.hset(jobs, "cut", '{"status":"pend')
        client.hset(jobs, "ended", '{"status":"completed","attempt":1}')
    assert [one.job_id for one in reader.late_jobs().jobs] == ["good"]


def test_one_that_outlived_its_record_neither_waits_nor_runs(
    recorded: Recorded, reader: Reader, sampled: Sampled
) -> None:
    run = recorded.run("data:process")
    for age in (HOUR, 47 * HOUR, 50 * HOUR):
        tell(recorded, run, f"waits {age}", Status.PENDING, age)
        tell(recorded, run, f"runs {age}", Status.PROCESSING, age)
    found = reader.late_jobs()
    assert (found.pending, found.processing, len(found.jobs)) == (2, 2, 4)
    (queue,) = reader.queue_counts().values()
    assert (queue.pending, queue.processing) == (2, 2)
    labels = {"engine": "celery", "queue": "default"}
    assert sampled("jobmon_jobs_pending_late", **labels) == 2
    assert sampled("jobmon_jobs_pending", **labels, job_name="app.tasks.process_user") == 2


def test_a_job_without_a_run_is_found(recorded: Recorded, reader: Reader) -> None:
    run = recorded.run("manual-dispatch")
    one = run.transition("alone", Status.PROCESSING, Stage.STARTED)
    old = int((time.time() - HOUR) * 1000)
    recorded.write(one._replace(process_id="alone", manual=True, at_ms=old))
    (found,) = reader.late_jobs().jobs
    assert (found.process_id, found.job_id) == ("alone", "alone")


def test_queues_have_gauges_of_them_from_zero_on(recorded: Recorded, sampled: Sampled) -> None:
    run = recorded.run("data:process")
    tell(recorded, run, "waits", Status.PENDING, HOUR)
    tell(recorded, run, "named otherwise", Status.PENDING, HOUR, job_name="other")
    tell(recorded, run, "runs", Status.PROCESSING, 2 * HOUR, queue="mail")
    mail = {"engine": "celery", "queue": "mail"}
    default = {"engine": "celery", "queue": "default"}
    assert sampled("jobmon_jobs_pending_late", **default) == 2
    assert sampled("jobmon_jobs_in_progress_late", **default) == 0
    assert sampled("jobmon_jobs_pending_late", **mail) == 0
    assert sampled("jobmon_jobs_in_progress_late", **mail) == 1


@pytest.mark.live
def test_the_server_and_the_command_line_list_them(recorded: Recorded) -> None:
    run = recorded.run("data:process")
    tell(recorded, run, "stuck", Status.PROCESSING, 2 * HOUR, worker="w@1")
    with Served(recorded.settings.redis.url) as server:
        data = server.data("jobs/late")
    (job,) = data.pop("jobs")
    assert data == {
        "pending": {"count": 0, "after_seconds": 900.0},
        "processing": {"count": 1, "after_seconds": 3600.0},
    }
    assert job["since"].endswith("Z")
    assert job["seconds"] >= 2 * HOUR
    assert {name: job[name] for name in ("process_id", "job_id", "command_name", "worker")} == {
        "process_id": run.id,
        "job_id": "stuck",
        "command_name": "data:process",
        "worker": "w@1",
    }
    own = environment(REDIS_URL=recorded.settings.redis.url)
    words = [sys.executable, "-m", "jobmon.cli.main", "status"]
    text = subprocess.run(words, env=own, capture_output=True, text=True, check=True).stdout
    assert "Late" in text
    assert "2 h 00 m" in text
    words.append("--format=json")
    shown = json.loads(subprocess.run(words, env=own, capture_output=True, check=True).stdout)
    assert [one["job_id"] for one in shown["late"]["jobs"]] == ["stuck"]
