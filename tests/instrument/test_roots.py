"""A scheduled run in one process: opened when it is sent, begun and ended by its root job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from jobmon.instrument import context, install, jobs, recorder
from jobmon.instrument.context import JobContext
from jobmon.instrument.entries import EntryRun, name_of, schedule_text
from jobmon.instrument.jobs import Execution
from jobmon.instrument.roots import Mark
from jobmon.model import Outcome, RunTransition, Transition
from jobmon.settings import Settings, load


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    items: list[Any] = []
    monkeypatch.setattr(recorder, "record", items.append)
    configure()
    yield items
    install.configure(Settings())


def configure(**settings: object) -> None:
    values = {name.replace("__", "."): value for name, value in settings.items()}
    given = load({"environment": "tests", **values}, environ={})
    for module in (jobs, install.commands):
        module.configure(given)


def published(job_id: str = "j", **more: Any) -> JobContext:
    return jobs.publish_context(job_id, "work", **more)


def execution(own: JobContext) -> Execution:
    """As a worker has it, from what the message carries."""
    carried = JobContext.decode(own.encode())
    assert carried is not None
    return Execution("celery", own.job_id, "app.task", carried, queue="work")


def runs(items: list[Any]) -> list[RunTransition]:
    return [item for item in items if isinstance(item, RunTransition)]


def sent(name: str = "report", schedule: str = "0 4 * * *") -> tuple[EntryRun, JobContext]:
    run = EntryRun(name, "beat", schedule, 1000.5)
    run.send()
    own = published()
    run.sent("j")
    return run, own


def test_the_first_job_published_inside_is_the_root(recorded: list[Any]) -> None:
    run = EntryRun("report", "beat", "a | b % é", 1000.5)
    run.send()
    root, other = published("root"), published("other")
    run.sent("root")
    assert Mark.decode(root.scheduled) == Mark("beat", 1000.5, 0.0, "a | b % é")
    carried = JobContext.decode(root.encode())
    assert carried is not None
    assert carried.scheduled == root.scheduled
    assert other.scheduled == ""
    assert {root.process_id, other.process_id} == {run.id}
    assert context.entered() is None
    [opened] = runs(recorded)
    body = json.loads(opened.body)
    assert (opened.status, body["root_job_id"], body["due_at"]) == ("sent", "root", 1000.5)
    assert "started_at" not in body


def test_a_root_job_starts_and_ends_its_run(recorded: list[Any]) -> None:
    run, own = sent()
    worker = execution(own)
    jobs.start(worker, measure_memory=False)
    child = published("child")
    jobs.finish(worker, Outcome.COMPLETED)
    assert child.scheduled == ""
    _, started, ended = runs(recorded)
    assert (started.status, ended.status, ended.exit_code) == ("running", "completed", 0)
    assert {started.process_id, ended.process_id} == {run.id}
    body = json.loads(ended.body)
    assert (body["source"], body["kind"], body["schedule"]) == ("schedule", "beat", "0 4 * * *")
    assert body["due_at"] < body["sent_at"] <= body["started_at"] <= body["finished_at"]


def test_a_retry_keeps_the_run_open_and_its_start(recorded: list[Any]) -> None:
    _, own = sent()
    first = execution(own)
    jobs.start(first, measure_memory=False)
    again = published(previous=first.context)
    jobs.finish(first, Outcome.RETRIED)
    assert [one.status for one in runs(recorded)] == ["sent", "running"]
    second = execution(again)
    jobs.start(second, measure_memory=False)
    jobs.finish(second, Outcome.FAILED, error=ValueError("no"))
    _, started, ended = runs(recorded)
    assert (ended.status, ended.exit_code) == ("failed", 1)
    first_start = json.loads(started.body)["started_at"]
    assert json.loads(ended.body)["started_at"] == pytest.approx(first_start, abs=1e-5)


@pytest.mark.parametrize(
    ("outcome", "status", "exit_code"),
    [
        (Outcome.IGNORED, "completed", 0),
        (Outcome.TIMED_OUT, "failed", 1),
        (Outcome.REJECTED, "failed", 1),
        (Outcome.REVOKED, "failed", 1),
        (Outcome.LOST, "lost", -1),
    ],
)
def test_an_end_that_another_process_saw_ends_the_run_too(
    recorded: list[Any], outcome: Outcome, status: str, exit_code: int
) -> None:
    _, own = sent()
    jobs.end_elsewhere(execution(own), outcome)
    [_, ended] = runs(recorded)
    assert (ended.status, ended.outcome, ended.exit_code) == (status, str(outcome), exit_code)
    assert "started_at" not in json.loads(ended.body)
    assert ended.duration_us == 0


def test_a_send_that_fails_is_a_failed_run(recorded: list[Any]) -> None:
    run = EntryRun("report", "cron", "every 5 s", 1000.0)
    run.send()
    published()
    run.sent("", ConnectionError("redis://:secret@host is away"))
    started, ended = runs(recorded)
    assert (started.status, ended.status, ended.exit_code) == ("running", "failed", 1)
    assert run.sent_at == 0
    assert "secret" not in run.error
    assert run.error.endswith("@host is away")
    assert "sent_at" not in json.loads(ended.body)


def test_an_entry_that_publishes_nothing_ends_at_once(recorded: list[Any]) -> None:
    run = EntryRun("report", "beat", "every 5 s", 1000.0)
    run.send()
    run.sent("")
    assert [one.status for one in runs(recorded)] == ["running", "completed"]


def test_without_runs_no_job_is_a_root(recorded: list[Any]) -> None:
    configure(monitoring__commands_enabled=False)
    run, own = sent()
    assert own.process_id == run.id
    assert own.scheduled == ""
    assert recorded == []
    assert not run.recorded


def test_an_excluded_entry_is_no_run_and_still_tells_when_it_was_sent(recorded: list[Any]) -> None:
    configure(commands__exclude="rep*")
    run, own = sent()
    assert own.manual
    assert own.scheduled == ""
    assert recorded == []
    assert run.sent_at > 0
    assert not run.recorded


def test_a_damaged_mark_ends_nothing(recorded: list[Any]) -> None:
    own = replace(JobContext("j", "p", "report"), scheduled="beat soon")
    jobs.end_elsewhere(execution(own), Outcome.COMPLETED)
    assert runs(recorded) == []
    assert [type(item) for item in recorded] == [Transition]


def test_names_and_schedules_are_made_fit_to_be_shown() -> None:
    assert name_of("a\x1bb\n") == "a�b�"
    assert len(name_of("x" * 999)) == 255
    assert name_of("  ") == "unnamed"
    assert schedule_text("every\n  5 s") == "every 5 s"
    assert len(schedule_text("x" * 999)) == 200
