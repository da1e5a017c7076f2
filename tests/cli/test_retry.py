"""``jobmon failed`` and ``jobmon retry`` as processes, without any server."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.databases import made
from tests.history.copied import copies
from tests.retry.failing import Failing
from tests.serving import environment

pytestmark = pytest.mark.live


@pytest.fixture
def failing(store: RedisServer, tmp_path: Path) -> Iterator[Failing]:
    with made("sqlite", tmp_path) as where, copies(store, where) as copied:
        found = Failing(store, where, copied.engine, copied)
        yield found
        found.recorded.close()


def jobmon(failing: Failing, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    given = {
        "REDIS_URL": failing.server.url,
        "DATABASE_URL": failing.database.url,
        "CELERY_BROKER_URL": failing.broker,
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", *words],
        env=environment(**given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_failed_jobs_are_shown_newest_first_and_filtered(failing: Failing) -> None:
    first, second = failing.run("data:process"), failing.run("data:other")
    (older,) = failing.fail(first)
    (newer,) = failing.fail(second, queue="mail")
    said = jobmon(failing, "failed", "--format", "json")
    assert (said.returncode, said.stderr) == (0, "")
    found = json.loads(said.stdout)
    assert [one["uuid"] for one in found] == [newer, older]
    assert found[0] | {"id": 0, "failed_at": "", "exception": ""} == {
        "id": 0,
        "uuid": newer,
        "connection": "celery",
        "queue": "mail",
        "job_class": "app.tasks.process_user",
        "command_name": "data:other",
        "process_id": second.id,
        "attempts": 1,
        "exception": "",
        "failed_at": "",
    }
    for words, chosen in (
        (("--run", first.id), [older]),
        (("--command", "data:other"), [newer]),
        (("--limit", "1"), [newer]),
        (("--command", "nobody"), []),
    ):
        said = jobmon(failing, "failed", "--format=json", *words)
        assert [one["uuid"] for one in json.loads(said.stdout)] == chosen
    text = jobmon(failing, "failed").stdout
    assert text.index(newer) < text.index(older)
    assert "message" not in text


def test_without_failed_jobs_it_says_so(failing: Failing) -> None:
    assert jobmon(failing, "failed").stdout == "There are no failed jobs.\n"
    said = jobmon(failing, "retry", "--all")
    assert (said.returncode, said.stderr) == (0, "There are no failed jobs.\n")
    said = jobmon(failing, "retry", "--run", str(uuid.uuid4()))
    assert (said.returncode, said.stderr) == (1, "No failed jobs found for this command.\n")


def test_several_are_retried_and_one_that_is_refused_does_not_stop_the_rest(
    failing: Failing,
) -> None:
    first, second = failing.fail(failing.run(), 2)
    said = jobmon(failing, "retry", first, "999", second)
    assert said.returncode == 1
    assert said.stdout.splitlines() == [
        f"Job [{one}] has been pushed back onto the queue." for one in (first, second)
    ]
    assert said.stderr == "Could not retry job [999]. It may no longer exist.\n"
    assert {one["headers"]["id"] for one in failing.queue()} == {first, second}


@pytest.mark.parametrize("which", ["--run", "--all"])
def test_many_are_retried_without_a_server(failing: Failing, which: str) -> None:
    run, other = failing.run(), failing.run()
    failing.fail(run, 120)
    failing.fail(run, 1, message=lambda *_: b"")
    failing.fail(other, 3)
    said = jobmon(failing, "retry", *((which, run.id) if which == "--run" else (which,)))
    many = 120 if which == "--run" else 123
    assert said.returncode == 1
    assert said.stdout == (
        f"{many} of {many + 1} failed jobs have been pushed back onto the queue.\n"
    )
    assert said.stderr.startswith("1 were not. The last one: Could not retry job [")
    assert said.stderr.endswith("]. Its arguments were not stored.\n")
    assert len(failing.queue()) == many


def test_a_broker_that_is_away_has_an_exit_code_of_its_own(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    for words in ((job_id,), ("--run", run.id)):
        said = jobmon(failing, "retry", *words, CELERY_BROKER_URL="amqp://127.0.0.1:1//")
        assert said.returncode == 69
        assert "The queue is unavailable." in said.stderr
        assert "127.0.0.1" not in said.stderr


def test_a_refusal_after_it_does_not_hide_that_a_broker_is_away(failing: Failing) -> None:
    (job_id,) = failing.fail(failing.run())
    away = {"CELERY_BROKER_URL": "amqp://127.0.0.1:1//"}
    assert jobmon(failing, "retry", job_id, "999", **away).returncode == 69


def test_some_are_deleted(failing: Failing) -> None:
    (job_id,) = failing.fail(failing.run())
    said = jobmon(failing, "failed", "delete", job_id, "999")
    assert said.returncode == 1
    assert said.stdout == f"Job [{job_id}] has been deleted.\n"
    assert said.stderr == "Could not delete job [999]. It may no longer exist.\n"
    assert failing.rows() == []


@pytest.mark.parametrize(
    "words",
    [
        ("retry",),
        ("retry", "1", "--all"),
        ("retry", "--run", "x"),
        ("failed", "delete"),
        ("failed", "remove", "1"),
        ("failed", "--limit", "0"),
    ],
)
def test_what_is_not_understood_is_a_usage_error(failing: Failing, words: tuple[str, ...]) -> None:
    said = jobmon(failing, *words)
    assert (said.returncode, said.stdout) == (2, "")
    assert f"jobmon {words[0]} --help" in said.stderr
