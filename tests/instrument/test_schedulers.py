"""What a scheduler says of itself, by its loop, and of its entries, within bounds."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from jobmon.instrument import beats, recorder, schedulers
from jobmon.instrument.entries import EntryRun
from jobmon.instrument.schedulers import Entry, Scheduler, unix
from jobmon.settings import Settings


class Clock:
    """Stands in for ``time`` in the module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1e9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(schedulers, "time", own)
    return own


@pytest.fixture
def scheduler(clock: Clock) -> Scheduler:
    return Scheduler("celery", "beat", "shop", {"class": "app.Beat"})


def age_ms(scheduler: Scheduler) -> int:
    return next(scheduler.beats()).age_ms


def entries(number: int, **changes: Any) -> list[Entry]:
    return [Entry(f"e{one}", "app.task", "every 5 s", **changes) for one in range(number)]


def told(scheduler: Scheduler) -> dict[str, dict[str, Any] | None]:
    """By entry, what one beat says; None for one that is taken back."""
    return {
        beat.id.partition("\x1f")[2]: None if beat.gone else json.loads(beat.body)
        for beat in scheduler.beats()
        if beat.kind == "schedule"
    }


def test_a_turn_that_does_not_end_ages(clock: Clock, scheduler: Scheduler) -> None:
    scheduler.turn()
    clock.now += 90
    assert age_ms(scheduler) == 90_000


def test_a_sleep_ages_only_beyond_what_was_announced(clock: Clock, scheduler: Scheduler) -> None:
    scheduler.turn()
    scheduler.wait(300)
    clock.now += 299
    assert age_ms(scheduler) == 0
    clock.now += 11
    assert age_ms(scheduler) == 10_000
    scheduler.turn()
    assert age_ms(scheduler) == 0


@pytest.mark.parametrize("seconds", [None, -1, 0, "soon"])
def test_a_turn_that_announces_no_sleep_promises_the_next_at_once(
    clock: Clock, scheduler: Scheduler, seconds: object
) -> None:
    scheduler.turn()
    scheduler.wait(seconds)
    clock.now += 2
    assert age_ms(scheduler) == 2_000


def test_it_says_who_it_is_and_when_it_turns(clock: Clock, scheduler: Scheduler) -> None:
    scheduler.turn()
    scheduler.wait(60)
    scheduler.shows(entries(2, next_due_at=5.0), 7)
    said = json.loads(next(scheduler.beats()).body)
    assert (said["engine"], said["kind"], said["name"], said["class"]) == (
        *("celery", "beat", "shop"),
        "app.Beat",
    )
    assert (said["entries"], said["next_due_at"], said["turns"]) == (7, 5.0, 1)
    assert said["next_turn_at"] - said["last_turn_at"] == 60


def test_a_restart_has_the_same_lineage_and_another_schedule_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder, "stand_alone", lambda: None)
    monkeypatch.setattr(beats, "beat_with", lambda _: None)
    own = recorder.own()

    def lineage(kind: str = "cron", name: str = "rq cron", file: str = "a.py", **given: Any) -> str:
        monkeypatch.setattr(own, "settings", Settings(**given))
        one = Scheduler("rq", kind, name, {"class": "Cron", "file": file})
        one.live()
        one.about["queues"] = ["q"]
        one.shows(entries(1), 1)
        told = [json.loads(beat.body)["lineage"] for beat in one.beats()]
        assert told == [told[0]] * 2
        return told[0]

    assert lineage() == lineage()
    others = {
        lineage(),
        lineage(kind="beat"),
        lineage(name="mine"),
        lineage(file="b.py"),
        lineage(app="shop"),
        lineage(environment="staging"),
    }
    assert len(others) == 6


def test_the_schedule_is_read_again_when_what_is_known_will_be_old(
    clock: Clock, scheduler: Scheduler
) -> None:
    scheduler.turn()
    assert scheduler.must_read()
    with scheduler.reading():
        pass
    scheduler.wait(5)
    assert not scheduler.must_read()
    scheduler.wait(300)
    assert scheduler.must_read()


def test_a_schedule_that_is_slow_to_read_is_read_less_often(
    clock: Clock, scheduler: Scheduler
) -> None:
    scheduler.turn()
    with suppress(RuntimeError), scheduler.reading():
        clock.now += 0.5
        raise RuntimeError
    clock.now += 99
    assert not scheduler.must_read()
    clock.now += 2
    assert scheduler.must_read()


def test_what_changed_is_told_first_and_all_else_in_turn(scheduler: Scheduler) -> None:
    scheduler.shows(entries(250), 250)
    seen = [set(told(scheduler)) for _ in range(3)]
    assert [len(one) for one in seen] == [100, 100, 100]
    assert len(set().union(*seen)) == 250
    changed = entries(250)
    changed[249] = changed[249]._replace(schedule="every 6 s")
    scheduler.shows(changed, 250)
    said = told(scheduler)["e249"]
    assert said is not None
    assert said["schedule"] == "every 6 s"


def test_a_removed_entry_is_taken_back_more_than_once(scheduler: Scheduler) -> None:
    scheduler.shows(entries(2), 2)
    told(scheduler)
    scheduler.shows(entries(1), 1)
    assert [told(scheduler).get("e1", "silent") for _ in range(4)] == [None] * 3 + ["silent"]


def test_entries_beyond_the_limit_are_left_out_and_counted(scheduler: Scheduler) -> None:
    scheduler.shows(iter(entries(1500)), 1500)
    assert len(set().union(*(told(scheduler) for _ in range(12)))) == 1000
    assert json.loads(next(scheduler.beats()).body)["entries"] == 1500


def test_entries_of_one_name_are_kept_apart(scheduler: Scheduler) -> None:
    scheduler.shows(entries(1) + entries(1), 2)
    assert set(told(scheduler)) == {"e0", "e0 #2"}


def test_what_fired_shows_when_it_was_due_and_sent(scheduler: Scheduler) -> None:
    scheduler.shows(entries(1, last_sent_at=1.0), 1)
    run = EntryRun("e0", "beat", "every 5 s", 1000.0)
    run.sent_at = 1001.0
    scheduler.fired(run)
    said = told(scheduler)["e0"]
    assert said is not None
    assert (said["last_due_at"], said["last_sent_at"]) == (1000.0, 1001.0)
    run.sent_at, run.error = 0.0, "no broker"
    scheduler.fired(run)
    said = told(scheduler)["e0"]
    assert said is not None
    assert (said["last_sent_at"], said["error"]) == (1.0, "no broker")


def test_the_longest_name_still_makes_an_id_that_the_store_takes(scheduler: Scheduler) -> None:
    scheduler.shows([Entry("é" * 255, "app.task", "every 5 s")], 1)
    [beat] = [beat for beat in scheduler.beats() if beat.kind == "schedule"]
    assert len(beat.id.encode()) <= 512
    assert json.loads(beat.body)["name"] == "é" * 255


def test_times_of_any_zone_are_unix_seconds() -> None:
    moment = datetime(2025, 8, 3, 12, tzinfo=UTC)
    assert unix(moment) == 1754222400
    assert unix(moment.astimezone(timezone(timedelta(hours=5)))) == 1754222400
    assert unix(moment.replace(tzinfo=None)) == 1754222400
    assert unix(None) is None
    assert unix(12.5) is None
