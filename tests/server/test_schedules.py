"""``schedules`` on a live server."""

from __future__ import annotations

import json

import pytest

from jobmon.model import Beat
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.serving import Recorded, Served

pytestmark = pytest.mark.live


def test_schedulers_and_entries_are_shown(served: Served, recorded: Recorded) -> None:
    assert served.data("schedules") == {"schedulers": [], "entries": []}
    scheduler = {
        "engine": "celery",
        "kind": "beat",
        "name": "shop",
        "hostname": "web-1",
        "pid": 7,
        "started_at": 1754222280.9,
        "entries": 1,
    }
    entry = {
        "engine": "celery",
        "kind": "beat",
        "name": "report",
        "job_name": "app.report",
        "schedule": "0 4 * * *",
        "timezone": "UTC",
        "enabled": True,
        "sent_count": 3,
        "next_due_at": 4e9,
        "last_due_at": 1754222280.0,
        "last_sent_at": 1e300,
        "last_run_id": "71c4",
        "error": "<b>no broker</b>",
    }
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send(
            [
                Beat("scheduler", "s", body=json.dumps(scheduler).encode()),
                Beat("schedule", "s\x1freport", body=json.dumps(entry).encode()),
            ]
        )
    answer = served.get("schedules").json()
    assert answer["success"] is True
    [shown] = answer["data"]["schedulers"]
    seen = shown.pop("last_seen_at")
    assert seen > "2025"
    assert seen.endswith("Z")
    assert shown == {
        "id": "s",
        "engine": "celery",
        "kind": "beat",
        "name": "shop",
        "hostname": "web-1",
        "pid": 7,
        "up": True,
        "started_at": "2025-08-03T11:58:00Z",
        "last_turn_at": None,
        "next_due_at": None,
        "entries": 1,
        "queues": [],
    }
    assert answer["data"]["entries"] == [
        {
            "engine": "celery",
            "kind": "beat",
            "name": "report",
            "job_name": "app.report",
            "schedule": "0 4 * * *",
            "timezone": "UTC",
            "queue": "",
            "state": "failed",
            "late_seconds": 0.0,
            "next_due_at": "2096-10-02T07:06:40Z",
            "last_due_at": "2025-08-03T11:58:00Z",
            "last_sent_at": None,
            "last_run_id": "71c4",
            "sent_count": 3,
            "error": "<b>no broker</b>",
            "scheduler_id": "s",
            "scheduler_up": True,
        }
    ]


def test_a_run_that_was_sent_and_has_not_started_shows_both(
    served: Served, recorded: Recorded
) -> None:
    sent = {"source": "schedule", "due_at": 1754222280.5, "sent_at": 1754222281.0}
    run = recorded.run("report", **sent, schedule="0 4 * * *", root_job_id="j")
    del run.record["started_at"]
    with recorded.client() as client:
        client.hset("jobmon:commands:running", run.id, json.dumps(run.record))
    [listed] = served.data("commands/running")
    assert listed["started_at"] == "2025-08-03 11:58:01"
    one = served.data(f"commands/{run.id}")
    assert (one["started_at"], one["status"]) == (None, "running")
    assert (one["due_at"], one["sent_at"]) == ("2025-08-03T11:58:00Z", "2025-08-03T11:58:01Z")
    assert (one["schedule"], one["root_job_id"]) == ("0 4 * * *", "j")
