"""What each method gives, of a live server with something to show."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from jobmon.answers.commands import Command, FinishedCommand, RunningCommand
from jobmon.answers.failed import FailedJob, RetryProgress
from jobmon.answers.health import HealthReport, HealthStates, Responded
from jobmon.answers.history import CommandMetric, JobMetric, RecentRun
from jobmon.answers.job import Attempt, Job
from jobmon.answers.queues import Queue
from jobmon.client import Conflict, NotFound, Unauthorized
from jobmon.model import Outcome
from jobmon.server.passwords import keep, written
from tests.client.asking import Asking, Kind
from tests.conftest import RedisServer
from tests.filled import Filled
from tests.serving import METRICS, READ, TOKENS, Recorded, Served, environment

pytestmark = pytest.mark.live


@dataclass(frozen=True)
class Past:
    """What the history holds."""

    run: str
    failed: list[str]
    done: list[str]
    tried: str


@pytest.fixture(scope="module")
def past(history: Filled) -> Past:
    run = history.run(jobs=260, failed=3, seconds=9.5, peak=1024)
    history.run(jobs=1, ago=120)
    done = history.jobs(257, process_id=run, queue_seconds=None)
    failed = history.jobs(3, "failed", process_id=run)
    (tried,) = history.jobs(1, command="other", attempt=2)
    history.attempt(run, failed[0], attempt=1)
    return Past(run, failed, done, tried)


def test_the_dashboard(ask: Asking, past: Past) -> None:
    found = ask("dashboard")
    assert found.summary.total_commands == 2
    assert found.summary.failed_jobs == 3
    assert isinstance(found.recent_activity.recent_commands[0], RecentRun)
    assert found.metrics == []
    assert found.period.days == 7
    assert len(ask("dashboard", days=1, command="data:process").metrics) == 2


def test_runs_of_a_command_page_by_page_and_all_of_them(ask: Asking, past: Past) -> None:
    page = ask("command_metrics", "data:process", page=2, per_page=1)
    assert (page.command, page.metrics.from_, page.metrics.total) == ("data:process", 2, 2)
    assert page.trends.job_count.change == 259
    runs = ask("iter_command_metrics", "data:process", per_page=1)
    assert all(isinstance(run, CommandMetric) for run in runs)
    assert [run.job_count for run in runs] == [260, 1]
    assert ask("iter_command_metrics", "unknown") == []


def test_jobs_that_ended_page_by_page_and_all_of_them(ask: Asking, past: Past) -> None:
    page = ask("job_metrics", process_id=past.run, status="failed")
    assert page.filters == {"process_id": past.run, "status": "failed"}
    assert (page.metrics.total, page.statistics.total_jobs) == (3, 260)
    jobs = ask("iter_job_metrics", process_id=past.run, status="success")
    assert all(isinstance(job, JobMetric) and job.queue_time is None for job in jobs)
    assert sorted(job.job_id for job in jobs) == sorted(past.done)
    assert [job.job_id for job in ask("iter_job_metrics", command="other")] == [past.tried]


def test_failed_jobs_page_by_page_and_all_of_them(ask: Asking, past: Past) -> None:
    page = ask("failed_jobs", per_page=2)
    assert (len(page.data), page.total, page.last_page, page.current_page) == (2, 3, 2, 1)
    jobs = ask("iter_failed_jobs", per_page=2)
    assert all(isinstance(job, FailedJob) for job in jobs)
    assert sorted(job.uuid for job in jobs) == sorted(past.failed)
    assert json.loads(jobs[0].payload)["displayName"] == "app.tasks.process_user"


def test_a_job_with_its_attempts(ask: Asking, past: Past, recorded: Recorded) -> None:
    job = ask("job", past.failed[0], process_id=past.run)
    assert isinstance(job, Job)
    assert (job.status, job.can_be_retried) == ("failed", True)
    assert [(type(one), one.outcome) for one in job.attempts] == [(Attempt, "retried")]


def test_a_failed_job_is_run_again_or_deleted(
    ask: Asking, past: Past, recorded: Recorded, history: Filled
) -> None:
    run = history.run("data:broken", jobs=2, failed=2)
    first, _ = history.jobs(2, "failed", process_id=run)
    with pytest.raises(Conflict, match=f"Could not retry job .{first}."):
        ask("retry", first)  # its message was not kept
    assert ask("delete_failed", first) == f"Job [{first}] has been deleted."
    with pytest.raises(NotFound, match="It may no longer exist"):
        ask("delete_failed", first)
    with pytest.raises(NotFound):
        ask("retry_progress", run)
    assert ask("retry_failed", run) == "Retry command dispatched for all failed jobs."
    progress = ask("retry_progress", run)
    assert isinstance(progress, RetryProgress)
    assert progress.requested == 1


def test_runs_and_their_jobs(ask: Asking, recorded: Recorded) -> None:
    run, other = recorded.run(), recorded.run("data:other")
    jobs = run.jobs(2, Outcome.COMPLETED)
    running = ask("running_commands")
    assert (len(running.entries), running.total, running.next_cursor) == (2, 2, None)
    assert {type(one) for one in running.entries} == {RunningCommand}
    other.end()
    (ended,) = ask("finished_commands").entries
    assert isinstance(ended, FinishedCommand)
    assert (ended.id, ended.exit_code) == (other.id, 0)
    command = ask("command", run.id)
    assert isinstance(command, Command)
    assert command.counters is not None
    assert command.counters.success_jobs == 2
    assert {one.id for one in ask("jobs_of_command", run.id).entries} == set(jobs)
    assert len(ask("iter_jobs_of_command", run.id)) == 2


def test_all_jobs_of_a_run_beyond_what_one_answer_holds(ask: Asking, recorded: Recorded) -> None:
    run = recorded.run()
    jobs = run.jobs(10_050)
    first = ask("jobs_of_command", run.id)
    assert (len(first.entries), first.total) == (10_000, 10_050)
    rest = ask("jobs_of_command", run.id, cursor=first.next_cursor)
    assert (len(rest.entries), rest.next_cursor) == (50, None)
    assert sorted(one.id for one in ask("iter_jobs_of_command", run.id)) == sorted(jobs)


def test_queues_late_jobs_workers_schedules_and_anomalies(
    ask: Asking, past: Past, recorded: Recorded
) -> None:
    recorded.run().jobs(2, queue="mail")
    assert ask("stats").queues["mail"] == Queue(pending=2, processing=0, failed=0)
    assert ask("late_jobs").jobs == []
    assert ask("workers") == []
    assert ask("schedules").entries == []
    found = ask("anomalies", severity="high")
    assert (found.filters, found.anomalies.data) == ({"severity": "high"}, [])
    assert ask("iter_anomalies", command="data:process") == []


def test_what_is_written_for_machines_and_people(kind: Kind, ask: Asking, known: Served) -> None:
    assert ask("document")["openapi"] == "3.1.0"
    assert ask("reference").startswith("<!doctype html>")
    prometheus = Asking(kind, known.url, token=METRICS)
    assert "# TYPE" in prometheus("metrics")
    assert "# TYPE" in prometheus("own_metrics")
    with pytest.raises(NotFound, match=r"metrics\.compat is false"):
        prometheus("compat_metrics", "rq-exporter")
    stranger = Asking(kind, known.url)
    assert stranger("alive") is True
    assert stranger("ready") is True


def test_unhealthy_and_not_ready_are_answers(kind: Kind, own_redis_server: RedisServer) -> None:
    with Served(
        own_redis_server.url,
        DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/nothing",
        AUTH_TOKENS=TOKENS,
        HEALTH_CHECK_PUBLIC="true",
    ) as server:
        ask = Asking(kind, server.url, token=READ)
        report = ask("health")
        assert isinstance(report, HealthReport)
        assert report.status == "unhealthy"
        assert isinstance(report.checks.redis, Responded)
        assert report.checks.database.status == "unhealthy"
        assert len(ask.sent) == 1
        seen = Asking(kind, server.url)("health")
        assert isinstance(seen, HealthStates)
        assert seen.checks.database.status == "unhealthy"
        assert ask("ready") is False
        assert ask("alive") is True


def test_health_that_is_switched_off_is_not_found(kind: Kind, redis_server: RedisServer) -> None:
    with Served(redis_server.url, HEALTH_CHECK_ENABLED="false") as server:
        with pytest.raises(NotFound):
            Asking(kind, server.url)("health")


def test_a_user_with_a_password_and_a_prefix_of_its_own(
    kind: Kind, redis_server: RedisServer
) -> None:
    user = written(keep("dora", "read", "pä:ss".encode()))
    settings = {"AUTH_BASIC": user, "MIDDLEWARE": "api,auth:basic", "PREFIX": "monitor"}
    with Served(redis_server.url, **settings) as server:
        address = f"{server.url}/", {"prefix": "/monitor/"}
        assert Asking(kind, address[0], **address[1], user=("dora", "pä:ss"))("stats")
        with pytest.raises(Unauthorized):
            Asking(kind, address[0], **address[1], user=("dora", "else"))("stats")


def test_it_loads_nothing_of_the_server() -> None:
    program = "import jobmon.client, sys; print(*sorted(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = said.stdout.split()
    mine = {name for name in loaded if name.startswith("jobmon.")}
    assert {name.split(".")[1] for name in mine} == {"anomaly", "answers", "client", "errors"}
    foreign = {"alembic", "celery", "opentelemetry", "redis", "rq", "sqlalchemy", "starlette"}
    assert not foreign & set(loaded)
