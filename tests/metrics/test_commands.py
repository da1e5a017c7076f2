"""Families of commands."""

from __future__ import annotations

import time

import pytest

from jobmon.model import Beat, Outcome
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

COMMAND = {"command": "data:process"}


def test_whatever_a_run_may_come_to_is_shown_from_zero(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run()
    for outcome in ("completed", "failed", "timed_out", "rejected", "lost", "revoked"):
        assert sampled("jobmon_command_runs_total", **COMMAND, outcome=outcome) == 0
    run.end(Outcome.LOST, -1)
    assert sampled("jobmon_command_runs_total", **COMMAND, outcome="lost") == 1


def test_runs_are_counted_by_outcome(recorded: Recorded, sampled: Sampled) -> None:
    recorded.run().end()
    recorded.run().end(Outcome.FAILED, 1)
    assert sampled("jobmon_command_runs_total", **COMMAND, outcome="completed") == 1
    assert sampled("jobmon_command_runs_total", **COMMAND, outcome="failed") == 1


def test_a_command_of_a_schedule_is_shown_from_zero(recorded: Recorded, sampled: Sampled) -> None:
    with connection.connect(recorded.settings) as client:
        body = b'{"name":"data:process","job_name":"j","engine":"celery","kind":"beat"}'
        Beats(client, recorded.settings).send([Beat("schedule", "s\x1fdata:process", body=body)])
    for outcome in ("completed", "failed"):
        assert sampled("jobmon_command_runs_total", **COMMAND, outcome=outcome) == 0
        assert sampled("jobmon_command_jobs_finished_total", **COMMAND, outcome=outcome) == 0
    assert sampled("jobmon_command_runs_total", **COMMAND, outcome="lost") == 0
    assert sampled("jobmon_command_runs_in_progress", **COMMAND) is None
    recorded.run().end()
    assert sampled("jobmon_command_runs_total", **COMMAND, outcome="completed") == 1


def test_open_runs_are_counted_and_the_oldest_is_dated(
    recorded: Recorded, sampled: Sampled
) -> None:
    oldest = "jobmon_command_oldest_running_start_timestamp_seconds"
    at = round(time.time()) - 100.0
    first, second = recorded.run(started_at=at), recorded.run()
    assert sampled("jobmon_command_runs_in_progress", **COMMAND) == 2
    assert sampled(oldest, **COMMAND) == at
    first.end()
    second.end()
    assert sampled("jobmon_command_runs_in_progress", **COMMAND) == 0
    assert sampled(oldest, **COMMAND) is None


def test_the_last_run_tells_when_how_long_and_whether_it_failed(
    recorded: Recorded, sampled: Sampled
) -> None:
    at = round(time.time()) - 100.0
    run = recorded.run(started_at=at)
    assert sampled("jobmon_command_last_start_timestamp_seconds", **COMMAND) == at
    assert sampled("jobmon_command_last_run_failed", **COMMAND) is None
    run.end(finished_at=at + 30)
    assert sampled("jobmon_command_last_end_timestamp_seconds", **COMMAND) == at + 30
    assert sampled("jobmon_command_last_success_timestamp_seconds", **COMMAND) == at + 30
    assert sampled("jobmon_command_last_duration_seconds", **COMMAND) == 30
    assert sampled("jobmon_command_last_run_failed", **COMMAND) == 0
    recorded.run(started_at=at + 40).end(Outcome.FAILED, 1, finished_at=at + 50)
    assert sampled("jobmon_command_last_success_timestamp_seconds", **COMMAND) == at + 30
    assert sampled("jobmon_command_last_end_timestamp_seconds", **COMMAND) == at + 50
    assert sampled("jobmon_command_last_run_failed", **COMMAND) == 1


def test_durations_of_runs_and_of_all_their_jobs_are_histograms(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run(started_at=time.time() - 20)
    waiting = run.job()
    run.end(finished_at=run.record["started_at"] + 10)
    assert sampled("jobmon_command_run_duration_seconds_count", **COMMAND) == 1
    assert sampled("jobmon_command_run_duration_seconds_sum", **COMMAND) == pytest.approx(10)
    assert sampled("jobmon_command_run_duration_seconds_bucket", **COMMAND, le="15.0") == 1
    assert sampled("jobmon_command_drain_duration_seconds_count", **COMMAND) == 0
    recorded.write(run.ended(waiting))
    assert sampled("jobmon_command_drain_duration_seconds_count", **COMMAND) == 1
    drained = sampled("jobmon_command_drain_duration_seconds_sum", **COMMAND)
    assert drained is not None
    assert 19 < drained < 60


def test_jobs_are_counted_under_their_command_whatever_their_name(
    recorded: Recorded, sampled: Sampled
) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED)
    run.jobs(1, Outcome.COMPLETED, job_name="other", engine="rq")
    run.jobs(1, Outcome.TIMED_OUT)
    name = "jobmon_command_jobs_finished_total"
    assert sampled(name, **COMMAND, outcome="completed") == 3
    assert sampled(name, **COMMAND, outcome="failed") == 0
    assert sampled(name, **COMMAND, outcome="timed_out") == 1


def test_jobs_that_have_not_ended_are_pending_under_their_command(
    recorded: Recorded, sampled: Sampled
) -> None:
    name = "jobmon_command_jobs_pending"
    run = recorded.run()
    waiting = run.job()
    run.jobs(1, Outcome.COMPLETED)
    recorded.run().job()
    assert sampled(name, **COMMAND) == 2
    recorded.write(run.ended(waiting))
    assert sampled(name, **COMMAND) == 1
