"""Open runs of schedulers are ended by what is recorded of their root jobs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobmon.model import Outcome, RunTransition, Status
from jobmon.settings import Settings
from jobmon.store import roots
from jobmon.store.keys import Keys
from jobmon.store.writer import Writer
from tests.store.histories import run_transition, transition

KEYS = Keys("jobmon:")
SETTINGS = Settings()


def send(client: Any, sent_seconds_ago: float = 500, **members: Any) -> None:
    """The run p1 was sent, with the root job a."""
    body = {
        "id": "p1",
        "command": "report",
        "source": "schedule",
        "root_job_id": "a",
        "sent_at": time.time() - sent_seconds_ago,
        **members,
    }
    run = run_transition("p1", "sent")._replace(body=json.dumps(body).encode())
    Writer(client, SETTINGS).apply([run])


def record(client: Any, status: Status, finished_seconds_ago: float = 100) -> None:
    at = time.time() - finished_seconds_ago
    body = b'"started_at":%f,"finished_at":%f,"v":1}' % (at - 2, at)
    Writer(client, SETTINGS).apply([transition("p1", "a", status, body=body)])


def overdue(client: Any) -> list[RunTransition]:
    return roots.overdue(client, KEYS, SETTINGS)


@pytest.fixture(autouse=True)
def empty(client: Any) -> None:
    client.flushall()


@pytest.mark.parametrize(
    ("status", "outcome", "ended", "exit_code"),
    [
        (Status.COMPLETED, Outcome.COMPLETED, "completed", 0),
        (Status.FAILED, Outcome.FAILED, "failed", 1),
        (Status.REVOKED, Outcome.REVOKED, "failed", 1),
        (Status.LOST, Outcome.LOST, "lost", -1),
    ],
)
def test_a_run_ends_as_its_root_job_did(
    client: Any, status: Status, outcome: Outcome, ended: str, exit_code: int
) -> None:
    send(client)
    record(client, status)
    [end] = overdue(client)
    assert (end.status, end.outcome, end.exit_code) == (ended, str(outcome), exit_code)
    assert end.duration_us == pytest.approx(2_000_000, abs=10)
    body = json.loads(end.body)
    assert body["due_at" if "due_at" in body else "sent_at"] < body["started_at"]
    Writer(client, SETTINGS).apply([end._replace(command=run_transition("p1", "sent").command)])
    assert overdue(client) == []


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING, Status.RETRYING])
def test_a_run_stays_open_with_its_root_job(client: Any, status: Status) -> None:
    send(client)
    record(client, status)
    assert overdue(client) == []


def test_whoever_saw_the_end_has_a_minute_to_say_so(client: Any) -> None:
    send(client)
    record(client, Status.COMPLETED, finished_seconds_ago=20)
    assert overdue(client) == []


def test_a_run_whose_root_job_was_forgotten_is_lost(client: Any) -> None:
    send(client)
    assert overdue(client) == []
    client.flushall()
    send(client, sent_seconds_ago=SETTINGS.tracking_ttl + 100)
    [end] = overdue(client)
    assert (end.status, end.exit_code) == ("lost", -1)


def test_a_run_that_no_scheduler_sent_is_let_alone(client: Any) -> None:
    send(client, source="console")
    record(client, Status.COMPLETED)
    assert overdue(client) == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"source":"schedule","id":7,"sent_at":1}'])
def test_nonsense_ends_nothing(client: Any, body: bytes) -> None:
    send(client)
    record(client, Status.COMPLETED)
    client.hset(KEYS.running, "p1", body)
    assert overdue(client) == []
