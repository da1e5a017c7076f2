"""Copying from the store into the history, on every kind of database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.databases import Database
from tests.history.copied import copies
from tests.serving import Recorded


def test_a_run_and_its_jobs_become_rows(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("data:process", release="1.2", host="worker-1")
    run.jobs(3, Outcome.COMPLETED, seconds=0.5)
    failed = run.job(Outcome.FAILED, seconds=0.25, error_type="ValueError")
    run.end()
    with copies(store, own_database) as history:
        report = history.sync()
        (row,) = history.rows("command_metrics")
        jobs = history.rows("job_metrics")
    assert (report.runs, report.jobs, report.skipped, report.errors) == (1, 4, 0, [])
    assert row["process_id"] == run.id
    assert (row["command_name"], row["source"], row["app_release"]) == (
        *("data:process", "console", "1.2"),
    )
    assert (row["job_count"], row["success_jobs"], row["failed_jobs"]) == (4, 3, 1)
    assert row["total_time"] == pytest.approx(1.75)
    assert row["avg_job_time"] == pytest.approx(1.75 / 4)
    assert row["run_date"] == datetime.fromtimestamp(run.record["started_at"], UTC).date()
    assert (row["status"], row["exit_code"], row["partial"]) == ("completed", 0, False)
    assert row["drained_at"] is not None
    assert {job["job_id"] for job in jobs if job["status"] == "failed"} == {failed}
    assert {job["process_id"] for job in jobs} == {run.id}
    assert {job["queue_time"] for job in jobs} == {0.03}


@pytest.mark.parametrize("batch_size", [1, 7, 500, 10_000])
def test_every_batch_size_gives_the_same_rows_and_a_second_pass_changes_none(
    recorded: Recorded, store: RedisServer, own_database: Database, batch_size: int
) -> None:
    for number in range(4):
        run = recorded.run(f"data:{number}")
        run.jobs(5 * number, Outcome.COMPLETED)
        run.jobs(2, Outcome.FAILED)
        run.end()
    with copies(store, own_database) as history:
        report = history.sync(batch_size=batch_size)
        once = {name: history.rows(name) for name in ("command_metrics", "job_metrics")}
        again = history.sync(batch_size=batch_size)
        twice = {name: history.rows(name) for name in ("command_metrics", "job_metrics")}
        assert (report.runs, report.jobs) == (4, 38)
        assert history.client.zcard("jobmon:unsynced") == 0
    assert (again.runs, again.jobs) == (0, 0)
    assert once == twice


def test_failures_are_copied_apart_and_leave_once_they_are_none(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("data:process")
    first, second = run.jobs(2, Outcome.FAILED)
    with copies(store, own_database, sync__enabled=False) as history:
        assert history.copy_failures() == (2, 0, 0)
        rows = history.rows("failed_jobs", all_columns=True)
        assert {row["uuid"] for row in rows} == {first, second}
        assert {row["exception"].splitlines()[0] for row in rows} == {"failed"}
        recorded.write(run.transition(first, Status.COMPLETED, Stage(0), Outcome.COMPLETED))
        assert history.copy_failures() == (0, 1, 0)
        (row,) = history.rows("failed_jobs")
    assert row["uuid"] == second


def test_a_record_that_cannot_be_read_is_set_aside_and_stops_nobody(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("data:process")
    bad, good = run.jobs(2, Outcome.COMPLETED)
    run.end()
    with copies(store, own_database) as history:
        history.client.hset(f"jobmon:command:{run.id}:jobs", bad, '{"status":"done"}')
        report = history.sync()
        (job,) = history.rows("job_metrics")
        assert len(history.rows("command_metrics")) == 1
    assert job["job_id"] == good
    assert report.skipped == 1


def test_more_jobs_than_are_inserted_one_by_one_become_the_same_rows(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("data:process")
    ids = run.jobs(120, Outcome.COMPLETED, queue="löwe\n\\N", trace_id=None)
    run.end()
    with copies(store, own_database) as history:
        report = history.sync()
        jobs = history.rows("job_metrics")
    assert (report.runs, report.jobs, report.errors) == (1, 120, [])
    assert {job["job_id"] for job in jobs} == set(ids)
    assert {job["queue"] for job in jobs} == {"löwe\n\\N"}
    assert {job["trace_id"] for job in jobs} == {None}
