"""What is shown of schedulers and their entries, by what was told and how long ago."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobmon.model import Beat
from jobmon.settings import Settings
from jobmon.store import beats
from jobmon.store.beats import Beats
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.schedules import Schedules

KEYS = Keys("jobmon:")
WEEK_MS = 7 * 86_400_000


def scheduler(name: str, *, age_seconds: float = 0, **said: Any) -> Beat:
    body = {"engine": "celery", "kind": "beat", "name": "shop", "hostname": "web-1", "pid": 7}
    return Beat(
        "scheduler",
        name,
        int(age_seconds * 1000),
        json.dumps(body | {"entries": 1} | said).encode(),
    )


def entry(owner: str, name: str, **said: Any) -> Beat:
    body = {"engine": "celery", "kind": "beat", "name": name, "schedule": "every 5 s"} | said
    return Beat("schedule", f"{owner}\x1f{name}", body=json.dumps(body).encode())


def deployed(name: str, **said: Any) -> Beat:
    return scheduler(name, **{"lineage": "shop", **said})


def names(found: Schedules) -> list[tuple[str, str]]:
    return [(one.name, one.scheduler_id) for one in found.entries]


@pytest.fixture
def shown(client: Any) -> Callable[..., Schedules]:
    """Send beats; what is shown then."""
    client.flushall()
    sender, reader = Beats(client, Settings()), Reader(client, Settings())

    def show(*sent: Beat) -> Schedules:
        sender.send(sent)
        return reader.schedules()

    return show


def _times(said: dict[str, Any]) -> dict[str, Any]:
    """Seconds from now as times: parameters are made long before their test runs."""
    now, times = time.time(), ("as_of", "next_due_at")
    return {key: now + value if key in times else value for key, value in said.items()}


def test_nothing_is_shown_of_an_empty_store(shown: Callable[..., Schedules]) -> None:
    assert shown() == Schedules()


def test_an_entry_is_of_the_app_of_its_scheduler(shown: Callable[..., Schedules]) -> None:
    found = shown(scheduler("a"), entry("a", "report", app="shop"), entry("a", "clean"))
    assert {one.name: one.app for one in found.entries} == {"report": "shop", "clean": ""}


def test_a_scheduler_is_up_until_its_loop_was_silent_for_a_minute(
    shown: Callable[..., Schedules],
) -> None:
    found = shown(
        scheduler("a", age_seconds=50), scheduler("b", age_seconds=70, entries=None, queues=["q"])
    )
    assert [(one.id, one.up) for one in found.schedulers] == [("a", True), ("b", False)]
    assert found.schedulers[1].queues == ("q",)
    assert abs(time.time() - found.schedulers[1].last_seen_at - 70) < 30


def test_a_scheduler_that_beats_rarely_is_given_three_intervals(
    shown: Callable[..., Schedules],
) -> None:
    found = shown(scheduler("a", age_seconds=200, beats_every=100))
    assert found.schedulers[0].up


@pytest.mark.parametrize(
    ("owner", "said", "state"),
    [
        ({}, {}, "ok"),
        ({}, {"next_due_at": 60}, "ok"),
        ({}, {"next_due_at": -1000}, "late"),
        # What was read of the schedule a while ago said nothing of being late.
        ({"as_of": -1000}, {"next_due_at": -980}, "ok"),
        ({}, {"error": "no broker"}, "failed"),
        ({}, {"enabled": False, "next_due_at": -1000}, "disabled"),
        ({"age_seconds": 100}, {}, "down"),
    ],
)
def test_an_entry_has_a_state(
    shown: Callable[..., Schedules], owner: dict[str, Any], said: dict[str, Any], state: str
) -> None:
    sent = (scheduler("a", **_times(owner)), entry("a", "report", **_times(said)))
    [one] = shown(*sent).entries
    assert one.state == state
    assert (one.late_seconds > 0) == (state == "late")


def test_an_entry_of_a_dead_scheduler_tells_how_late_it_is(shown: Callable[..., Schedules]) -> None:
    due_at = time.time() - 5000
    [one] = shown(
        scheduler("a", age_seconds=9000, as_of=time.time() - 9000),
        entry("a", "report", next_due_at=due_at),
    ).entries
    assert (one.state, one.scheduler_up) == ("down", False)
    assert 5000 <= one.late_seconds < 5060


def test_an_entry_stays_when_its_scheduler_ended(shown: Callable[..., Schedules]) -> None:
    shown(scheduler("a"), entry("a", "report"))
    found = shown(Beat("scheduler", "a", gone=True))
    assert found.schedulers == ()
    assert [(one.name, one.state) for one in found.entries] == [("report", "down")]


def test_another_scheduler_takes_entries_over_and_hides_the_dead_one(
    shown: Callable[..., Schedules],
) -> None:
    shown(scheduler("dead", age_seconds=500), entry("dead", "report"), entry("dead", "left"))
    found = shown(scheduler("new"), entry("new", "report"))
    assert [one.id for one in found.schedulers] == ["dead", "new"]
    assert [(one.name, one.scheduler_id) for one in found.entries] == [
        ("left", "dead"),
        ("report", "new"),
    ]
    found = shown(entry("new", "left"))
    assert [one.id for one in found.schedulers] == ["new"]
    assert {one.scheduler_id for one in found.entries} == {"new"}


@pytest.mark.parametrize("stopped", [True, False])
def test_its_successor_tells_that_an_entry_was_taken_out(
    client: Any, shown: Callable[..., Schedules], stopped: bool
) -> None:
    end = Beat("scheduler", "old", gone=True) if stopped else deployed("old", age_seconds=500)
    shown(deployed("old"), entry("old", "report", lineage="shop"), end)
    if not stopped:
        client.zadd(KEYS.scheduler_beats, {"old": (time.time() - 500) * 1000})
    new = deployed("new", entries=2, started_at=time.time() + 1)
    found = shown(new, entry("new", "clean", lineage="shop"))
    assert names(found) == [("clean", "new"), ("report", "old")], "it has told one of two"
    found = shown(entry("new", "mail", lineage="shop"))
    assert names(found) == [("clean", "new"), ("mail", "new")]
    assert [one.id for one in found.schedulers] == ["new"]


def test_in_a_rolling_deploy_an_entry_in_common_tells_the_successor(
    shown: Callable[..., Schedules],
) -> None:
    new = deployed("new", started_at=time.time() - 60)
    shown(deployed("old"), entry("old", "gone", lineage="shop"), entry("old", "report"), new)
    found = shown(
        Beat("scheduler", "old", gone=True),
        entry("new", "report"),
        entry("old", "gone", lineage=""),
    )
    assert names(found) == [("gone", "old"), ("report", "new")], "of whom, nobody knows"
    found = shown(entry("old", "gone", lineage="shop"), entry("old", "report", lineage="shop"))
    assert names(found) == [("report", "new")]


@pytest.mark.parametrize(
    "other",
    [
        {"lineage": "another"},
        {"lineage": ""},
        {"lineage": "shop", "started": -60},  # up beside the one that ended
        {"lineage": "shop", "entries": None},  # has not read its schedule yet
        {"lineage": "shop", "age_seconds": 500},
    ],
)
def test_a_schedule_of_its_own_takes_nothing_out(
    shown: Callable[..., Schedules], other: dict[str, Any]
) -> None:
    shown(deployed("old"), entry("old", "report", lineage="shop"))
    shown(Beat("scheduler", "old", gone=True))
    said = {name: value for name, value in other.items() if name != "started"}
    started_at = time.time() + other.get("started", 1)
    found = shown(deployed("new", started_at=started_at, **said), entry("new", "clean", **said))
    assert ("report", "old") in names(found)


def test_one_that_has_no_entries_of_its_own_hides_none_of_its_predecessor(
    shown: Callable[..., Schedules],
) -> None:
    cleanup = "celery.backend_cleanup"
    shown(
        deployed("old"),
        *(entry("old", name, lineage="shop") for name in ("report", cleanup)),
    )
    shown(Beat("scheduler", "old", gone=True))
    late = time.time() + 1
    assert ("report", "old") in names(shown(deployed("new", entries=0, started_at=late)))
    found = shown(deployed("new", entries=1, started_at=late), entry("new", cleanup))
    assert ("report", "old") in names(found)


def test_what_cannot_be_told_is_not_waited_for_for_ever(shown: Callable[..., Schedules]) -> None:
    shown(entry("old", "gone", lineage="shop"), entry("old", "report", lineage="shop"))
    new = deployed("new", entries=3, started_at=time.time() - 800)
    found = shown(new, entry("new", "report", lineage="shop"))
    assert names(found) == [("gone", "old"), ("report", "new")]
    found = shown(deployed("new", entries=3, started_at=time.time() - 1000))
    assert names(found) == [("report", "new")]


def test_of_two_live_schedulers_both_are_shown(shown: Callable[..., Schedules]) -> None:
    found = shown(scheduler("a"), scheduler("b"), entry("a", "report"), entry("b", "report"))
    assert [one.scheduler_id for one in found.entries] == ["a", "b"]


def test_a_dead_scheduler_of_workers_is_hidden_once_its_queues_are_served(
    shown: Callable[..., Schedules],
) -> None:
    workers = {"engine": "rq", "kind": "scheduled", "entries": 0}
    dead = scheduler("dead", age_seconds=500, queues=["a", "b"], **workers)
    found = shown(dead, scheduler("one", queues=["a"], **workers))
    assert [one.id for one in found.schedulers] == ["dead", "one"]
    found = shown(scheduler("two", queues=["b"], **workers))
    assert [one.id for one in found.schedulers] == ["one", "two"]


def test_an_entry_that_a_live_scheduler_no_longer_tells_of_vanishes(
    client: Any, shown: Callable[..., Schedules]
) -> None:
    shown(scheduler("a"), entry("a", "gone"), entry("a", "silent"), entry("a", "stays"))
    client.zincrby(KEYS.schedules_seen, -1_000_000, "a\x1fsilent")
    found = shown(Beat("schedule", "a\x1fgone", gone=True))
    assert [one.name for one in found.entries] == ["stays"]


def test_what_nobody_told_of_for_a_week_is_forgotten(
    client: Any, shown: Callable[..., Schedules]
) -> None:
    shown(scheduler("a"), entry("a", "report"))
    client.zincrby(KEYS.schedules_seen, -WEEK_MS - 1000, "a\x1freport")
    client.zincrby(KEYS.scheduler_beats, -WEEK_MS - 1000, "a")
    assert shown(scheduler("b")).entries == ()
    assert client.hlen(KEYS.schedules) == 0
    assert client.hkeys(KEYS.schedulers) == [b"b"]


def test_entries_are_bounded_and_silent_ones_give_way(
    client: Any, shown: Callable[..., Schedules], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "MOST_ENTRIES", 3)
    sender = Beats(client, Settings())
    sender.send([entry("a", f"e{number}") for number in range(3)])
    assert sender.send([entry("a", "more"), entry("a", "e1")]).refused == 1
    assert client.hget(KEYS.recorder_totals, "overflow:schedule") == b"1"
    client.zincrby(KEYS.schedules_seen, -3_700_000, "a\x1fe0")
    assert sender.send([entry("a", "more")]).refused == 0
    assert set(client.hkeys(KEYS.schedules)) == {b"a\x1fe1", b"a\x1fe2", b"a\x1fmore"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"name":7,"enabled":"?","next_due_at":"soon","pid":[]}']
)
def test_nonsense_is_shown_as_unknown_or_not_at_all(
    client: Any, shown: Callable[..., Schedules], body: bytes
) -> None:
    shown(scheduler("a"), entry("a", "report"))
    client.hset(KEYS.schedulers, "a", body)
    client.hset(KEYS.schedules, "a\x1freport", body)
    found = shown()
    assert all(one.name == "" for one in (*found.schedulers, *found.entries))
