"""The JSON of a record, whatever users put into it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from jobmon.instrument import record
from jobmon.instrument.context import JobContext
from jobmon.instrument.jobs import Execution
from jobmon.settings import load

SETTINGS = load({"release": "v1", "tags": ["eu", "batch"], "app": "shop"}, environ={})


@pytest.fixture(autouse=True)
def configured() -> None:
    record.configure(SETTINGS)


def execution(**fields: Any) -> Execution:
    given = {"queue": "default", "worker": "w@host", **fields}
    return Execution(
        "celery",
        "job-1",
        given.pop("job_name", "app.tasks.add"),
        JobContext("job-1", "p", given.pop("command", "data:process"), created_at=1.5),
        **given,
    )


def decoded(text: str, error: dict[str, Any] | None = None, arguments: str = "") -> dict[str, Any]:
    body = record.complete(text, error, arguments)
    assert len(body) <= record.MAX_RECORD_BYTES - 256
    found = json.loads(b"{" + body)
    assert isinstance(found, dict)
    return found


def test_a_record_holds_what_is_known_and_nothing_else() -> None:
    found = decoded(record.beginning(execution(), -1.0))
    assert found.pop("host")
    assert found == {
        "queue": "default",
        "class": "app.tasks.add",
        "command_name": "data:process",
        "process_id": "p",
        "engine": "celery",
        "created_at": 1.5,
        "worker": "w@host",
        "app": "shop",
        "environment": "production",
        "release": "v1",
        "tags": ["eu", "batch"],
        "v": 1,
    }


def test_an_end_adds_its_members() -> None:
    text = record.beginning(execution(started_at=2.5), 0.5) + record.end(3.5, 1.0, 4096, "failed")
    found = decoded(text, {"class": "ValueError", "message": "bad", "frames": []})
    assert (found["started_at"], found["queue_time"], found["finished_at"]) == (2.5, 0.5, 3.5)
    assert (found["execution_time"], found["memory_usage"]) == (1.0, 4096)
    assert (found["outcome"], found["error"]["class"]) == ("failed", "ValueError")


@pytest.mark.parametrize(
    "name", ['a"b\\c', "line\nend", "\x1b[31m", "größe", "\u2028", "\ud800", "\x00", "'</script>"]
)
def test_any_name_stays_valid_json(name: str) -> None:
    found = decoded(record.beginning(execution(job_name=name, command=name), -1.0))
    assert found["class"] == name.encode("utf-8", "replace").decode()


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "argument",
    [math.nan, math.inf, 10**400, b"\xff", Odd(), {1: {2: Odd()}}, "\ud800", {"\ud800": 1}, {3}],
)
def test_any_argument_can_be_recorded(argument: object) -> None:
    job = execution(arguments=lambda: ((argument,), {"password": "hunter2"}, None))
    found = decoded(record.beginning(job, -1.0), None, record.arguments(job, SETTINGS))
    assert found["arguments"]["kwargs"] == {"password": "[redacted]"}
    json.dumps(found, allow_nan=False)


def test_what_is_too_long_loses_its_exception_first_then_its_arguments() -> None:
    text = record.beginning(execution(), -1.0)
    error = {"class": "ValueError", "message": "x" * 20_000, "frames": []}
    found = decoded(text, error, ',"arguments":{"args":[1]}')
    assert found["error"] == {"class": "ValueError", "message": "[truncated]"}
    assert found["arguments"] == {"args": [1]}
    found = decoded(text, error, f',"arguments":{{"args":["{"y" * 20_000}"]}}')
    assert found["error"]["class"] == "ValueError"
    assert "arguments" not in found


def test_a_record_says_who_asked_for_it_to_be_run_again() -> None:
    own = execution()
    assert "retried_by" not in decoded(record.beginning(own, -1.0))
    own.context.retried_by, own.context.retried_at = 'a "b"', 2.5
    found = decoded(record.beginning(own, -1.0))
    assert (found["retried_by"], found["retried_at"]) == ('a "b"', 2.5)
    assert "retry_of" not in found
    own.context.stands_for = "job-0"
    assert decoded(record.beginning(own, -1.0))["retry_of"] == "job-0"
