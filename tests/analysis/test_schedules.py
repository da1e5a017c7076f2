"""Declared schedules: what is due when, and what schedulers tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab

from jobmon.analysis.schedules import (
    Schedule,
    Told,
    declared,
    next_due,
    refuse_unreadable,
    told,
)
from jobmon.settings import PerCommand, SettingsError, load
from jobmon.store.schedules import ScheduleEntry, SchedulerState, Schedules


def at(text: str) -> float:
    """Unix seconds of a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def due(schedule: Schedule, moment: str, many: int) -> list[str]:
    """The next so many due times, in UTC."""
    found, last = [], at(moment)
    for _ in range(many):
        last = schedule.after(last)
        found.append(datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"

DUE = [
    ("* * * * *", None, "2026-01-01 00:00:59.9", ["2026-01-01 00:01", "2026-01-01 00:02"]),
    ("0 10 * * *", "Australia/Brisbane", "2026-01-01 00:00", ["2026-01-02 00:00"]),
    ("30 9 * * *", "Asia/Kolkata", "2026-01-01 00:00", ["2026-01-01 04:00"]),
    # Ends of months.
    ("0 0 31 * *", None, "2026-01-31 00:00", ["2026-03-31 00:00", "2026-05-31 00:00"]),
    ("0 0 L * *", None, "2026-01-31 00:00", ["2026-02-28 00:00", "2026-03-31 00:00"]),
    ("0 0 29 2 *", None, "2024-02-29 00:00", ["2028-02-29 00:00"]),
    ("0 0 29 2 *", None, "2096-02-29 00:00", ["2104-02-29 00:00"]),
    # Either day fits, as cron has it.
    ("0 0 1 * 1", None, "2026-11-29 12:00", ["2026-11-30 00:00", "2026-12-01 00:00"]),
    ("0 9 * * 1-5", None, "2026-01-02 09:00", ["2026-01-05 09:00"]),
    # An hour is left out: what falls into it is due right after.
    ("30 2 * * *", BERLIN, "2026-03-28 02:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
    ("30 2 * * *", NEW_YORK, "2026-03-07 12:00", ["2026-03-08 07:00", "2026-03-09 06:30"]),
    ("0 * * * *", BERLIN, "2026-03-29 00:00", ["2026-03-29 01:00", "2026-03-29 02:00"]),
    ("15 2 * * *", LORD_HOWE, "2026-10-02 16:00", ["2026-10-03 15:30", "2026-10-04 15:15"]),
    # An hour comes twice: what falls into it is due once, in the first.
    ("30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
    ("30 2 * * *", BERLIN, "2026-10-25 01:10", ["2026-10-26 01:30"]),
    ("30 1 * * *", NEW_YORK, "2026-10-31 12:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
    ("0 * * * *", BERLIN, "2026-10-24 23:30", ["2026-10-25 00:00", "2026-10-25 01:00"]),
    ("*/30 * * * *", BERLIN, "2026-10-25 00:30", ["2026-10-25 01:00", "2026-10-25 01:30"]),
    ("@daily", BERLIN, "2026-01-01 12:00", ["2026-01-01 23:00"]),
    ("@Hourly", None, "2026-01-01 12:00", ["2026-01-01 13:00"]),
    # Intervals count from the moment, whatever clocks do.
    ("every 90 minutes", None, "2026-01-01 00:10", ["2026-01-01 01:40", "2026-01-01 03:10"]),
    ("every 1 d", BERLIN, "2026-03-28 02:30", ["2026-03-29 02:30"]),
    ("every hour", None, "2026-01-01 00:10", ["2026-01-01 01:10"]),
]


@pytest.mark.parametrize(
    ("text", "zone", "moment", "times"), DUE, ids=[f"{d[0]} {d[1]} {d[2]}" for d in DUE]
)
def test_what_is_due_after_a_moment(
    text: str, zone: str | None, moment: str, times: list[str]
) -> None:
    assert due(Schedule.parse(text, zone), moment, len(times)) == times


@pytest.mark.parametrize("zone", ["UTC", BERLIN, NEW_YORK, LORD_HOWE])
@pytest.mark.parametrize("text", ["30 2 * * *", "*/20 1-3 * * *", "0,30 2 * * *", "45 * * * *"])
def test_due_times_only_go_forward(text: str, zone: str) -> None:
    schedule = Schedule.parse(text, zone)
    for day in ("2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"):
        for minutes in range(0, 2880, 7):
            moment = at(day) + minutes * 60
            assert moment < schedule.after(moment) <= moment + 2 * 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("every 30 s", 30),
        ("every 0.5 s", 0.5),
        ("every 1e+06 s", 1_000_000),
        ("every 2 min", 120),
        ("Every 2 Hours", 7200),
        ("every day", 86_400),
    ],
)
def test_intervals(text: str, seconds: float) -> None:
    assert Schedule.parse(text).every_seconds == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "0 4 * *", "0 4 * * * *", "60 * * * *", "0 24 * * *", "0 0 30 2 *", "a b c d e"),
        *("@reboot", "every 0 s", "every 400 d", "every 1.2.3 s", "every second day"),
        *("5-1 * * * *", "*/0 * * * *", "sunset at 52.5, 13.4", "once at 2026-01-01T00:00:00"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is no number"):
        Schedule.parse(text)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "../x", "CEST", "a\0b"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        Schedule.parse("0 4 * * *", zone)


CRONTABS: list[dict[str, Any]] = [
    {"minute": 0, "hour": 4},
    {"minute": "*/7", "hour": "*/3"},
    {"minute": "58-2/2"},
    {"minute": 5, "hour": "22-4/2"},
    {"minute": 0, "hour": 0, "day_of_week": "fri-mon"},
    {"minute": 0, "hour": 0, "day_of_week": "sunday,wed"},
    {"minute": 0, "hour": 0, "day_of_month": "1-7", "day_of_week": "mon"},
    {"minute": 0, "hour": 0, "day_of_month": "13", "day_of_week": 5},
    {"minute": 0, "hour": 0, "day_of_month": "*/2"},
    {"minute": {10, 50}, "hour": [1, 2]},
    {"minute": 0, "hour": 6, "day_of_month": 1, "month_of_year": "*/3"},
]


@pytest.mark.parametrize("fields", CRONTABS, ids=str)
def test_a_crontab_of_celery_is_due_when_celery_sends_it(fields: dict[str, Any]) -> None:
    app = Celery("x", set_as_current=False)
    app.conf.timezone = "UTC"
    there = crontab(**fields, app=app)
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    text = " ".join(str(getattr(there, f"_orig_{name}")) for name in names)
    here = Schedule.parse(text, "UTC", is_celerys=True)
    moment = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
    for _ in range(60):
        there.nowfun = lambda moment=moment: moment  # type: ignore[misc]
        expected = moment + there.remaining_estimate(moment)
        assert here.after(moment.timestamp()) == pytest.approx(expected.timestamp(), abs=1)
        moment += timedelta(hours=37, minutes=11)


def test_the_first_of_several_is_due_next() -> None:
    several = [Schedule.parse("0 4 * * *"), Schedule.parse("0 16 * * *")]
    assert next_due(several, at("2026-01-01 05:00")) == at("2026-01-01 16:00")


def test_the_configuration_gives_a_command_its_schedule() -> None:
    command = PerCommand(schedule="0 4 * * *", timezone=BERLIN)
    assert declared(command, "UTC") == Schedule.parse("0 4 * * *", BERLIN)
    assert declared(PerCommand(schedule="0 4 * * *"), BERLIN) == declared(command, "UTC")
    assert declared(PerCommand(timezone=BERLIN), "UTC") is None


def test_every_schedule_that_cannot_be_read_is_named_at_once() -> None:
    texts = {"a": "0 0 30 2 *", "b": "every 5 s", "c": "0 4 * * 8"}
    table = {name: {"schedule": text} for name, text in texts.items()}
    with pytest.raises(SettingsError) as caught:
        refuse_unreadable(load({"analyze_mode.commands": table}, environ={}))
    assert [problem.split(": ")[1] for problem in caught.value.problems] == ["a", "c"]
    refuse_unreadable(load(environ={}))


# What schedulers tell.


def entry(name: str, schedule: str, **values: Any) -> ScheduleEntry:
    given: dict[str, Any] = {
        "engine": "celery",
        "kind": "beat",
        "job_name": "tasks.x",
        "timezone": "UTC",
        "queue": "",
        "state": "ok",
        "late_seconds": 0.0,
        "next_due_at": None,
        "last_due_at": None,
        "last_sent_at": None,
        "last_run_id": None,
        "sent_count": None,
        "error": None,
        "scheduler_id": "a",
        "scheduler_up": True,
        "app": "shop",
    }
    return ScheduleEntry(name=name, schedule=schedule, **(given | values))


def scheduler(entries: int | None, up: bool = True) -> SchedulerState:
    return SchedulerState(
        id="a",
        engine="celery",
        kind="beat",
        name="shop",
        hostname="h",
        pid=1,
        up=up,
        last_seen_at=0.0,
        started_at=None,
        last_turn_at=None,
        next_due_at=None,
        entries=entries,
        queues=(),
    )


def test_a_command_has_the_schedule_of_the_entry_with_its_name() -> None:
    schedules = Schedules(
        entries=(
            entry("report", "0 4 * * *", timezone=BERLIN),
            entry("report", "0 5 * * *", app="other"),
            entry("clean", "every 30 s"),
        )
    )
    found = told(schedules, "report", "shop")
    assert found.schedules == (Schedule("0 4 * * *", ZoneInfo(BERLIN), None, True),)
    assert found.source == "beat"
    assert told(schedules, "clean", "shop").schedules[0].every_seconds == 30
    assert told(schedules, "unknown", "shop") == Told()


def test_each_entry_of_a_name_has_its_schedule() -> None:
    schedules = Schedules(
        entries=(
            entry("report", "0 4 * * *"),
            entry("report", "0 16 * * 1", engine="rq", kind="cron"),
            entry("report", "0 0 * * *", state="disabled"),
        )
    )
    found = told(schedules, "report", "shop")
    assert [one.text for one in found.schedules] == ["0 4 * * *", "0 16 * * 1"]
    assert [one.is_celerys for one in found.schedules] == [True, False]
    assert (found.source, found.is_off) == ("beat and rq cron", False)


@pytest.mark.parametrize("text", ["sunset at 52.5, 13.4", "MySchedule", "0 4 * * *"])
def test_with_a_schedule_that_cannot_be_read_none_is_declared(text: str) -> None:
    one = entry("report", text, timezone="CEST")
    found = told(Schedules(entries=(one, entry("report", "every 5 s"))), "report", "shop")
    assert found == Told((), "beat")


def test_a_disabled_entry_is_off_and_so_is_one_that_was_taken_out() -> None:
    disabled = Schedules(entries=(entry("report", "0 4 * * *", state="disabled"),))
    assert told(disabled, "report", "shop").is_off
    others = Schedules((scheduler(3),), (entry("clean", "every 5 s"),))
    assert told(others, "report", "shop", was_scheduled=True).is_off
    assert not told(others, "report", "shop").is_off, "nobody scheduled it before"


@pytest.mark.parametrize(
    "schedulers", [(), (scheduler(3, up=False),), (scheduler(1001),), (scheduler(None),)]
)
def test_what_nobody_can_tell_of_is_not_off(schedulers: tuple[SchedulerState, ...]) -> None:
    assert not told(Schedules(schedulers), "report", "shop", was_scheduled=True).is_off
