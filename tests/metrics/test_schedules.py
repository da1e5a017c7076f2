"""Families of schedulers and of when entries are due."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobmon.model import Beat
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

SCHEDULER = {"engine": "celery", "kind": "beat", "scheduler": "shop", "hostname": "web-1"}


def tell(recorded: Recorded, beats: str, own_id: str, age_seconds: float = 0, **said: Any) -> None:
    body = json.dumps({"engine": "celery", "kind": "beat", **said}).encode()
    with connection.connect(recorded.settings) as client:
        beat = Beat(beats, own_id, int(age_seconds * 1000), body)
        assert Beats(client, recorded.settings).send([beat]).taken == 1


def test_a_scheduler_is_up_by_its_loop(recorded: Recorded, sampled: Sampled) -> None:
    tell(recorded, "scheduler", "old", 500, name="shop", hostname="web-1", entries=1)
    assert sampled("jobmon_scheduler_up", **SCHEDULER) == 0
    seen = sampled("jobmon_scheduler_last_seen_timestamp_seconds", **SCHEDULER)
    assert seen == pytest.approx(time.time() - 500, abs=30)
    tell(recorded, "scheduler", "new", name="shop", hostname="web-1", entries=1)
    assert sampled("jobmon_scheduler_up", **SCHEDULER) == 1


def test_an_entry_tells_what_sends_its_command_and_when_next(
    recorded: Recorded, sampled: Sampled
) -> None:
    tell(recorded, "scheduler", "s", name="shop", hostname="web-1")
    for owner, at in (("s", 2000.5), ("t", 1000.5)):
        said = {"name": "report", "schedule": "0 4 * * *", "next_due_at": at}
        tell(recorded, "schedule", f"{owner}\x1freport", **said)
    tell(recorded, "schedule", "s\x1foff", name="off", next_due_at=1.0, enabled=False)
    labels = {"command": "report", "engine": "celery", "kind": "beat", "schedule": "0 4 * * *"}
    assert sampled("jobmon_command_info", **labels, owner="") == 1
    expected = "jobmon_command_next_expected_timestamp_seconds"
    assert sampled(expected, command="report") == 2000.5  # that of the scheduler that is up
    assert sampled(expected, command="off") is None
    due = "jobmon_schedule_entry_next_due_timestamp_seconds"
    own = {"engine": "celery", "kind": "beat", "scheduler": "shop"}
    assert sampled(due, **own, command="report") == 2000.5
    assert sampled(due, **own, command="off") is None


def test_a_scheduler_tells_how_many_entries_it_has(recorded: Recorded, sampled: Sampled) -> None:
    tell(recorded, "scheduler", "s", name="shop", hostname="web-1", entries=0)
    assert sampled("jobmon_scheduler_entries", **SCHEDULER) == 0
    tell(recorded, "scheduler", "twin", name="shop", hostname="web-1", entries=3)
    assert sampled("jobmon_scheduler_entries", **SCHEDULER) == 3
    # RQ's scheduler of delayed jobs has none.
    tell(recorded, "scheduler", "q", name="q", hostname="web-1", engine="rq", kind="scheduled")
    labels = {"engine": "rq", "kind": "scheduled", "scheduler": "q", "hostname": "web-1"}
    assert sampled("jobmon_scheduler_up", **labels) == 1
    assert sampled("jobmon_scheduler_entries", **labels) is None


def test_a_command_tells_whom_to_tell_whether_a_scheduler_sends_it_or_not(
    recorded: Recorded, sampled: Sampled
) -> None:
    recorded.settings = load(
        {
            "redis.url": recorded.settings.redis.url,
            "analyze_mode.commands": {
                "report*": {"owner": "finance"},
                "report:muted": {"mute": True, "schedule": "@daily"},
                "never:ran": {"owner": "ops"},
                "unseen:*": {"owner": "nobody"},
            },
        },
        environ={},
    )
    for command in ("report", "report:muted", "report:hand", "plain"):
        recorded.run(command)
    tell(recorded, "scheduler", "s", name="shop", hostname="web-1")
    for name in ("report", "plain"):
        tell(recorded, "schedule", f"s\x1f{name}", name=name, schedule="0 4 * * *")
    sent = {"engine": "celery", "kind": "beat", "schedule": "0 4 * * *"}
    by_hand = {"engine": "", "kind": "", "schedule": ""}
    info = "jobmon_command_info"
    assert sampled(info, command="report", owner="finance", **sent) == 1
    assert sampled(info, command="report", owner="finance", **by_hand) is None
    assert sampled(info, command="plain", owner="", **sent) == 1
    assert sampled(info, command="report:hand", owner="finance", **by_hand) == 1
    assert sampled(info, command="never:ran", owner="ops", **by_hand) == 1
    daily = {**by_hand, "schedule": "@daily"}
    assert sampled(info, command="report:muted", owner="", **daily) == 1
    assert sampled(info, command="unseen:*", owner="nobody", **by_hand) is None


def test_a_long_name_is_the_same_wherever_it_stands(recorded: Recorded, sampled: Sampled) -> None:
    name = 'send "mail"' + "x" * 200
    shown = name[:128]
    recorded.settings = load(
        {
            "redis.url": recorded.settings.redis.url,
            "analyze_mode.commands": {name: {"owner": "o" * 200, "start_margin_seconds": 600}},
        },
        environ={},
    )
    recorded.run(name).end()
    tell(recorded, "scheduler", "s", name=f"\n{name}", hostname=name + "x" * 89, entries=1)
    tell(recorded, "schedule", "s\x1fsend", name=name, schedule="0 4 * * *", next_due_at=2000.5)
    tell(recorded, "schedule", "s\x1fline", name="new\nline", next_due_at=1000.5)
    own = {"engine": "celery", "kind": "beat"}
    sent = {**own, "schedule": "0 4 * * *", "owner": "o" * 128}
    place = {**own, "scheduler": shown, "hostname": shown}
    assert sampled("jobmon_command_runs_total", command=shown, outcome="completed") == 1
    assert sampled("jobmon_command_next_expected_timestamp_seconds", command=shown) == 2000.5
    assert sampled("jobmon_command_next_expected_timestamp_seconds", command="newline") == 1000.5
    assert sampled("jobmon_command_grace_seconds", command=shown) == 600
    assert sampled("jobmon_command_info", command=shown, **sent) == 1
    due = "jobmon_schedule_entry_next_due_timestamp_seconds"
    assert sampled(due, **own, scheduler=shown, command=shown) == 2000.5
    assert sampled("jobmon_scheduler_up", **place) == 1
    assert sampled("jobmon_scheduler_entries", **place) == 1


def test_of_a_scheduler_that_was_stopped_the_entries_name_none(
    recorded: Recorded, sampled: Sampled
) -> None:
    tell(recorded, "scheduler", "s", name="shop", hostname="web-1", entries=1)
    tell(recorded, "schedule", "s\x1freport", name="report", next_due_at=2000.5)
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send([Beat("scheduler", "s", gone=True)])
    assert sampled("jobmon_scheduler_up", **SCHEDULER) is None
    due = "jobmon_schedule_entry_next_due_timestamp_seconds"
    own = {"engine": "celery", "kind": "beat", "scheduler": "", "command": "report"}
    assert sampled(due, **own) == 2000.5


def test_an_entry_that_the_next_scheduler_has_not_is_no_longer_expected(
    recorded: Recorded, sampled: Sampled
) -> None:
    about = {"name": "shop", "hostname": "web-1", "entries": 1, "lineage": "shop"}
    tell(recorded, "scheduler", "old", 500, **about, started_at=time.time() - 9000)
    tell(recorded, "schedule", "old\x1fold", name="old", next_due_at=1.5, lineage="shop")
    expected = "jobmon_command_next_expected_timestamp_seconds"
    assert sampled(expected, command="old") == 1.5
    about["hostname"] = "web-2"
    tell(recorded, "scheduler", "new", **about, started_at=time.time() + 1)
    tell(recorded, "schedule", "new\x1fnew", name="new", next_due_at=2.5, lineage="shop")
    assert sampled(expected, command="old") is None
    assert sampled(expected, command="new") == 2.5
    assert sampled("jobmon_scheduler_up", **SCHEDULER) is None
    assert sampled("jobmon_scheduler_up", **{**SCHEDULER, "hostname": "web-2"}) == 1
