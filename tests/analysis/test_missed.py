"""Whether a run is missing, case by case: as Healthchecks and Sentry are asked, and more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from jobmon.analysis.checks import Kind
from jobmon.analysis.missed import expected, missed
from jobmon.analysis.schedules import Schedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NAN = math.nan


def at(text: str) -> float:
    """Unix seconds of a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass
class Case:
    name: str
    schedule: str | list[str]
    starts: list[str]
    now: str
    due: str | None
    """None: nothing is expected."""
    missed: int = 0
    zone: str | None = None
    margin: float | None = None
    seen_until: str | None = None
    running: bool = False


NIGHTLY, HOURLY, BERLIN = "0 0 * * *", "0 * * * *", "Europe/Berlin"
MARGIN = "01:59:59"

CASES = [
    Case("waits", NIGHTLY, ["2000-01-01"], "2000-01-01 23:59", "2000-01-02"),
    Case("is due", NIGHTLY, ["2000-01-01"], "2000-01-02", "2000-01-02"),
    Case("within its margin", NIGHTLY, ["2000-01-01"], f"2000-01-02 {MARGIN}", "2000-01-02"),
    Case("is missed", NIGHTLY, ["2000-01-01"], "2000-01-02 02:00", "2000-01-02", 1),
    Case("own margin", NIGHTLY, ["2000-01-01"], "2000-01-02 01:00", "2000-01-02", 1, margin=HOUR),
    Case("no margin", NIGHTLY, ["2000-01-01"], "2000-01-02", "2000-01-02", 1, margin=0),
    Case("three times", NIGHTLY, ["2000-01-01"], "2000-01-04 02:00", "2000-01-02", 3),
    Case("for a year", NIGHTLY, ["2000-01-01"], "2001-01-01", "2000-01-02", 3),
    Case("never ran", NIGHTLY, [], "2000-01-02 05:00", None),
    # Zones.
    *(
        Case(name, "0 10 * * *", ["2000-01-01 00:00"], now, "2000-01-02 00:00", count, zone=zone)
        for zone in ("Australia/Brisbane",)
        for name, now, count in (
            ("09:59 in Brisbane", "2000-01-01 23:59", 0),
            ("10:00 in Brisbane", "2000-01-02 00:00", 0),
            ("12:00 in Brisbane", "2000-01-02 02:00", 1),
        )
    ),
    # Clocks go forward: 02:30 is due at 03:00, which is 01:00 in UTC.
    Case(
        *("spring, ran", "30 2 * * *", ["2026-03-28 01:30", "2026-03-29 01:00"]),
        *("2026-03-29 23:00", "2026-03-30 00:30"),
        zone=BERLIN,
    ),
    Case(
        *("spring, waits", "30 2 * * *", ["2026-03-28 01:30"], "2026-03-29 02:59"),
        *("2026-03-29 01:00", 0, BERLIN),
    ),
    Case(
        *("spring, missed", "30 2 * * *", ["2026-03-28 01:30"], "2026-03-29 03:00"),
        *("2026-03-29 01:00", 1, BERLIN),
    ),
    Case(
        *("spring, a day of 23 hours", "0 12 * * *", ["2026-03-28 11:00"], "2026-03-29 12:00"),
        *("2026-03-29 10:00", 1, BERLIN, 1.5 * HOUR),
    ),
    # Clocks go back: 02:30 comes twice and is due once.
    Case(
        *("autumn, ran", "30 2 * * *", ["2026-10-25 00:30"], "2026-10-25 12:00"),
        *("2026-10-26 01:30", 0, BERLIN),
    ),
    Case(
        *("autumn, ran in the second hour", "30 2 * * *", ["2026-10-25 01:10"]),
        *("2026-10-25 20:00", "2026-10-26 01:30", 0, BERLIN),
    ),
    Case(
        *("autumn, a day of 25 hours", "0 12 * * *", ["2026-10-24 10:00"], "2026-10-25 10:30"),
        *("2026-10-25 11:00", 0, BERLIN, 0),
    ),
    Case(
        *("autumn, every hour of both", HOURLY, ["2026-10-25 00:00"], "2026-10-25 01:30"),
        *("2026-10-25 01:00", 1, BERLIN),
    ),
    Case(
        *("an interval knows no clock", "every 1 d", ["2026-10-24 10:00"], "2026-10-25 10:00"),
        *("2026-10-25 10:00", 1, BERLIN, 0),
    ),
    # The calendar.
    Case("a weekend", "0 9 * * 1-5", ["2026-01-02 09:00"], "2026-01-05 08:59", "2026-01-05 09:00"),
    Case(
        *("a Monday", "0 9 * * 1-5", ["2026-01-02 09:00"], "2026-01-05 11:00"),
        *("2026-01-05 09:00", 1),
    ),
    Case(
        *("half-hours of a working day", "*/30 8-17 * * 1-5", ["2026-01-02 17:30"]),
        *("2026-01-05 08:15", "2026-01-05 08:00", 1),
    ),
    Case("the last day", "0 0 L * *", ["2026-01-31"], "2026-02-28 04:00", "2026-02-28", 1),
    Case("no 31st", "0 0 31 * *", ["2026-01-31"], "2026-03-30", "2026-03-31"),
    Case("29 February", "0 0 29 2 *", ["2024-02-29"], "2028-02-28", "2028-02-29"),
    Case("29 February missed", "0 0 29 2 *", ["2024-02-29"], "2028-03-01", "2028-02-29", 1),
    # Runs that are not quite on time.
    Case(
        "late but running", NIGHTLY, ["2000-01-01"], "2000-01-02 09:00", "2000-01-02", running=True
    ),
    Case("started late", HOURLY, ["2000-01-01 01:25"], "2000-01-01 02:10", "2000-01-01 02:00"),
    Case("started a day late", NIGHTLY, ["2000-01-02 22:00"], "2000-01-03 01:00", "2000-01-03"),
    Case("started early", NIGHTLY, ["1999-12-31 23:59:30"], "2000-01-01 22:00", "2000-01-02"),
    Case("ran by hand", NIGHTLY, ["1999-12-31 23:58"], "2000-01-01 02:00", "2000-01-01", 1),
    Case(
        *("early within a minute", "* * * * *", ["2000-01-01 00:00:50"], "2000-01-01 00:01:30"),
        *("2000-01-01 00:02",),
    ),
    Case(
        *("too early for a minute", "* * * * *", ["2000-01-01 00:00:40"], "2000-01-01 00:02"),
        *("2000-01-01 00:01", 1),
    ),
    Case(
        *("overlapping", HOURLY, ["2000-01-01 00:00", "2000-01-01 01:00", "2000-01-01 02:00"]),
        *("2000-01-01 02:59", "2000-01-01 03:00"),
        running=True,
    ),
    Case(
        *("margin longer than the period", "*/5 * * * *", ["2000-01-01 00:00"]),
        *("2000-01-01 00:19", "2000-01-01 00:05"),
        margin=15 * MINUTE,
    ),
    Case(
        *("margin longer than the period, over", "*/5 * * * *", ["2000-01-01 00:00"]),
        *("2000-01-01 00:20", "2000-01-01 00:05", 1),
        margin=15 * MINUTE,
    ),
    Case(
        *("margin longer than the period, skipped", "*/5 * * * *", ["2000-01-01 00:10"]),
        *("2000-01-01 00:20", "2000-01-01 00:15"),
        margin=15 * MINUTE,
    ),
    # Intervals count from the last start.
    Case(
        "an interval", "every 15 min", ["2000-01-01 00:07"], "2000-01-01 00:29", "2000-01-01 00:22"
    ),
    Case(
        *("an interval missed", "every 15 min", ["2000-01-01 00:07"], "2000-01-01 00:29:30"),
        *("2000-01-01 00:22", 1),
    ),
    Case(
        *("an interval of a second", "every 1 s", ["2000-01-01"], "2000-01-01 00:01:01"),
        *("2000-01-01 00:00:01", 1),
    ),
    # Two schedules for a command.
    Case(
        *("the first of two", ["0 4 * * *", "0 16 * * *"], ["2000-01-01 04:00"]),
        *("2000-01-01 18:00", "2000-01-01 16:00", 1),
    ),
    Case(
        *("both missed", ["0 4 * * *", "0 16 * * *"], ["2000-01-01 04:00"]),
        *("2000-01-02 06:00", "2000-01-01 16:00", 2),
    ),
    # What is not known yet.
    Case(
        *("jobmon was down when it was due", NIGHTLY, ["2000-01-01"], "2000-01-02 09:00"),
        *("2000-01-02",),
        seen_until="2000-01-02 01:59",
    ),
    Case(
        *("jobmon caught up", NIGHTLY, ["2000-01-01"], "2000-01-02 09:00", "2000-01-02", 1),
        seen_until="2000-01-02 08:59",
    ),
    Case(
        *("a start newer than all that is known", NIGHTLY, ["2000-01-01", "2000-01-02 00:01"]),
        *("2000-01-02 09:00", "2000-01-03"),
        seen_until="2000-01-01 12:00",
    ),
    # Odd input.
    Case(
        *("unsorted, twice the same", NIGHTLY, ["2000-01-02", "2000-01-01", "2000-01-02"]),
        *("2000-01-02 09:00", "2000-01-03"),
    ),
    Case(
        *("a clock that was a year ahead", NIGHTLY, ["2000-01-01", "2001-01-01"]),
        *("2000-01-02 09:00", "2000-01-02", 1),
    ),
    Case("a clock ahead", NIGHTLY, ["2000-01-01", "2000-01-02 00:05"], "2000-01-02", "2000-01-03"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_declared_schedules(case: Case) -> None:
    texts = [case.schedule] if isinstance(case.schedule, str) else case.schedule
    found = expected(
        np.array([*(at(start) for start in case.starts), NAN]),
        at(case.now),
        schedules=[Schedule.parse(text, case.zone) for text in texts],
        margin_seconds=case.margin,
        seen_until=math.inf if case.seen_until is None else at(case.seen_until),
        is_running=case.running,
    )
    check = missed(found)
    if case.due is None:
        assert found is check is None
        return
    assert found is not None
    assert check is not None
    assert datetime.fromtimestamp(found.due_at, UTC) == datetime.fromtimestamp(at(case.due), UTC)
    assert found.missed_count == case.missed
    assert check.is_anomaly is (case.missed > 0)


def test_a_state_not_a_list() -> None:
    """However long it is silent, one start is awaited, and the next ends it."""
    schedule = [Schedule.parse(HOURLY)]
    starts = np.array([at("2000-01-01")])
    counts = [
        (found.due_at, found.missed_count)
        for hours in range(10)
        if (found := expected(starts, at("2000-01-01 00:45") + hours * HOUR, schedules=schedule))
    ]
    due_at = at("2000-01-01 01:00")
    assert counts == [(due_at, min(count, 3)) for count in range(10)]
    back = np.append(starts, at("2000-01-01 09:20"))
    found = expected(back, at("2000-01-01 09:45"), schedules=schedule)
    assert found is not None
    assert (found.due_at, found.missed_count) == (at("2000-01-01 10:00"), 0)


def test_what_usually_waits_in_a_queue_may_be_later() -> None:
    nightly = [Schedule.parse(NIGHTLY)]
    random = np.random.default_rng(5)
    starts = at("2000-01-01") + DAY * np.arange(20) + random.uniform(3, 4, 20) * HOUR
    due_at = at("2000-01-21")
    found = expected(starts, due_at + 3.9 * HOUR, schedules=nightly)
    assert found is not None
    assert (found.due_at, found.missed_count) == (due_at, 0)
    assert 5 * HOUR < found.late_at - due_at < 6 * HOUR
    own = expected(starts, due_at + 3.9 * HOUR, schedules=nightly, margin_seconds=HOUR)
    assert own is not None
    assert own.missed_count == 1, "an own margin is kept to"


@pytest.mark.parametrize(
    ("now", "missed_count"), [("2000-01-01 03:50", 0), ("2000-01-01 04:10", 1)]
)
def test_a_run_that_took_long_holds_up_the_next(now: str, missed_count: int) -> None:
    hourly, starts = [Schedule.parse(HOURLY)], np.array([at("2000-01-01")])
    ended_at = at("2000-01-01 03:35")
    found = expected(starts, at(now), schedules=hourly, ended_at=ended_at)
    assert found is not None
    assert (found.late_at, found.missed_count) == (ended_at + 30 * MINUTE, missed_count)
    short = expected(starts, at(now), schedules=hourly, ended_at=at("2000-01-01 00:05"))
    assert short is not None
    assert short.missed_count == 3


def test_what_misses_every_second_time_is_not_taken_for_late() -> None:
    starts = at("2000-01-01") + 2 * DAY * np.arange(20)
    found = expected(starts, float(starts[-1]) + 1.2 * DAY, schedules=[Schedule.parse(NIGHTLY)])
    assert found is not None
    assert found.missed_count == 1


def test_the_check_says_how_long_and_how_long_is_usual() -> None:
    starts = at("2000-01-01") + DAY * np.arange(10)
    now = at("2000-01-11 12:00")
    check = missed(expected(starts, now, schedules=[Schedule.parse(NIGHTLY)], source="beat"))
    assert check is not None
    assert (check.kind, check.metric, check.test) == (
        Kind.MISSED_EXECUTION,
        "hours_since_last_run",
        "beat",
    )
    assert (check.current, check.baseline.centre, check.ratio) == (36.0, 24.0, 1.5)
    assert (check.baseline.high, check.baseline.n, check.p_value) == (26.0, 10, 0.0)
    assert (check.baseline.first_at, check.baseline.last_at) == (starts[0], starts[-1])


def test_when_it_was_due_is_told_in_the_zone_of_its_schedule() -> None:
    starts, now = at("2000-01-01") + DAY * np.arange(10), at("2000-01-12")

    def due(*schedules: Schedule, zone: str | None = None) -> str:
        own = None if zone is None else ZoneInfo(zone)
        check = missed(expected(starts, now, schedules=schedules, zone=own))
        assert check is not None
        return f"{check.due} {check.due and check.due.tzinfo}"

    assert due(Schedule.parse("0 8 * * *", BERLIN)) == "2000-01-10 08:00:00+01:00 Europe/Berlin"
    assert due(Schedule.parse(NIGHTLY)) == "2000-01-11 00:00:00+00:00 UTC"
    daily = Schedule.parse("every 1 day")
    assert due(daily, zone=BERLIN) == "2000-01-11 01:00:00+01:00 Europe/Berlin"
    assert due() == "2000-01-11 00:00:00+00:00 UTC"
    assert due(zone=BERLIN) == "2000-01-11 01:00:00+01:00 Europe/Berlin"
    uneven = at("2000-01-01") + np.array([0, 1, 2.2, 3.1, 4.3]) * HOUR
    silence = missed(expected(uneven, now))
    assert silence is not None
    assert (silence.test, silence.due) == ("silence", None)


# Without a schedule.


def every(seconds: float, many: int, end: str = "2026-06-01") -> np.ndarray[Any, Any]:
    return at(end) - seconds * np.arange(many)[::-1]


def silent(starts: Any, seconds: float, **more: Any) -> tuple[str, int] | None:
    found = expected(starts, float(starts[-1]) + seconds, **more)
    return None if found is None else (found.source, found.missed_count)


def test_what_is_inferred_has_its_own_margin() -> None:
    hourly = every(HOUR, 30)
    assert silent(hourly, 1.4 * HOUR) == ("inferred: every 1 h", 0)
    assert silent(hourly, 1.6 * HOUR) == ("inferred: every 1 h", 1)
    assert silent(hourly, 25 * HOUR) == ("inferred: every 1 h", 3)
    assert silent(hourly, 1.6 * HOUR, margin_seconds=2 * HOUR) == ("inferred: every 1 h", 0)


def test_a_declared_schedule_goes_before_what_is_inferred() -> None:
    weekly = [Schedule.parse("0 0 * * 1")]
    assert silent(every(HOUR, 30), 5 * HOUR, schedules=weekly) == ("cron", 0)


def test_few_runs_that_came_regularly_are_missed_past_the_threshold() -> None:
    few = at("2026-06-01") + np.array([0, 1, 2.2, 3.1, 4.3]) * HOUR
    assert silent(few, 23 * HOUR) == ("silence", 0)
    assert silent(few, 25 * HOUR) == ("silence", 1)
    assert silent(few, 3 * HOUR, silence_seconds=2 * HOUR) == ("silence", 1)
    assert silent(few[:4], 1000 * HOUR) is None
    rare = at("2026-06-01") + np.array([0, 5, 10.8, 15.9, 21]) * DAY
    assert silent(rare, 10 * DAY) == ("silence", 0), "two usual intervals are more than a day"
    assert silent(rare, 12 * DAY) == ("silence", 1)


def test_what_comes_in_no_order_is_missed_only_after_an_unheard_silence() -> None:
    random = np.random.default_rng(1)
    starts = at("2026-06-01") + np.cumsum(random.exponential(HOUR, 100))
    longest = float(np.diff(starts).max())
    source, count = silent(starts, 23 * HOUR) or ("", 0)
    assert (source, count) == ("silence", 0)
    assert silent(starts, max(4 * longest, DAY) + 1) == ("silence", 1)
    assert silent(starts[:20], 1000 * DAY) is None


@pytest.mark.parametrize("zone", [None, ZoneInfo(BERLIN)])
def test_odd_starts_give_no_alarm(zone: Any) -> None:
    now = at("2026-06-01")
    for starts in (
        [],
        [NAN, NAN],
        [now],
        [now] * 50,
        [now - 1, now],
        [math.inf, -math.inf, now],
        [now - second / 1000 for second in range(50)],
        [0.0, now],
    ):
        found = expected(np.array(starts, dtype=np.float64), now + 1, zone=zone)
        assert found is None or not found.is_missed
