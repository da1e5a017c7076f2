"""What is inferred from starts alone, walked forward over the schedules that people write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from jobmon.analysis.inference import Inferred, infer, words
from jobmon.analysis.runs import Floats
from jobmon.analysis.schedules import Schedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
BERLIN = ZoneInfo("Europe/Berlin")
JITTER_SECONDS = 20.0


def at(text: str, zone: tzinfo = UTC) -> float:
    """Unix seconds of a moment."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


class Line(NamedTuple):
    """A cron line in Berlin's time, and how well its runs must be foretold."""

    text: str
    most_false: int
    """Alarms for runs that came: a first night, a first weekend, nobody can know."""
    most_delay: float
    """From a due time to the alarm, in all but one case of twenty. Seconds."""
    most_false_in_utc: int | None = None
    """Where the zone is unknown, if it is another."""


LINES = [
    Line("*/5 * * * *", 0, 5 * MINUTE),
    Line("*/15 * * * *", 0, 10 * MINUTE),
    Line("0 * * * *", 0, 35 * MINUTE),
    Line("0 */6 * * *", 0, 2 * HOUR),
    Line("0 2 * * *", 0, 2.1 * HOUR),
    Line("30 2 * * *", 0, 2.1 * HOUR),
    Line("5 6,18 * * *", 0, 2.1 * HOUR),
    Line("0 2,7,13 * * *", 0, 2.1 * HOUR),
    Line("0 0-1,3-23 * * *", 0, 32 * MINUTE),
    Line("*/20 6-22 * * *", 1, 12 * MINUTE),
    Line("*/10 8-18 * * 1-5", 2, 7 * MINUTE),
    Line("0 9-17 * * 1-5", 3, 35 * MINUTE, 12),
    Line("0 8,12,16 * * 1-5", 1, 1.5 * HOUR),
    Line("0 9 * * 1-5", 0, 2.1 * HOUR),
    Line("0 22 * * 0-4", 0, 2.1 * HOUR),
    Line("0 0 * * 6,0", 0, 4.1 * HOUR),
    Line("0 9 * * 1", 0, 4.1 * HOUR),
    Line("0 9 * * 1,4", 0, 4.1 * HOUR),
    Line("0 4 */2 * *", 0, 12 * HOUR),
    Line("0 6 1 * *", 0, 7.1 * HOUR),
    Line("0 6 L * *", 0, 7.1 * HOUR),
    Line("0 6 1,15 * *", 0, 8 * DAY),
    Line("0 6 * * 1#1", 0, 8 * DAY),
    Line("0 6 31 * *", 0, 62 * DAY),
]


def starts_of(text: str) -> Floats:
    """Starts of two years, at most 900, each some seconds late."""
    schedule, random = Schedule.parse(text, "Europe/Berlin"), np.random.default_rng(1)
    moment, found = at("2025-02-03"), list[float]()
    while len(found) < 900 and moment < at("2027-03-01"):
        moment = schedule.after(moment)
        found.append(moment)
    return np.array(found) + np.abs(random.normal(0, JITTER_SECONDS, len(found)))


def walk(starts: Floats, zone: tzinfo | None) -> Iterator[tuple[float, Inferred]]:
    step = 1 if len(starts) < 300 else 4
    for end in range(9, len(starts) - 1, step):
        inferred = infer(starts[:end], zone)
        if inferred is not None:
            yield float(starts[end]), inferred


@pytest.mark.parametrize("zone", [BERLIN, UTC], ids=str)
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.text)
def test_a_schedule_is_told_from_its_starts(line: Line, zone: tzinfo) -> None:
    starts = starts_of(line.text)
    delays = np.array(
        [one.due_at + one.grace_seconds - came_at for came_at, one in walk(starts, zone)]
    )
    asked = len(range(9, len(starts) - 1, 1 if len(starts) < 300 else 4))
    assert len(delays) >= 0.95 * asked, "it is always told"
    most_false = line.most_false
    if zone is UTC and line.most_false_in_utc is not None:
        most_false = line.most_false_in_utc
    assert np.count_nonzero(delays <= 0) <= most_false
    assert np.percentile(delays, 95) <= line.most_delay


@pytest.mark.parametrize("zone", [BERLIN, UTC], ids=str)
@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize("hour", [0, 2, 3, 12, 23])
def test_a_daily_run_moves_with_the_clock(hour: int, change: str, zone: tzinfo) -> None:
    schedule = Schedule.parse(f"30 {hour} * * *", "Europe/Berlin")
    moment, starts = at(change) - 30 * DAY, list[float]()
    for _ in range(34):
        moment = schedule.after(moment)
        starts.append(moment)
    for end in range(20, 33):
        found = infer(np.array(starts[:end]), zone)
        assert found is not None
        assert 0 < found.due_at + found.grace_seconds - starts[end] < 3.3 * HOUR
        if zone is BERLIN and starts[end] - at(change) > 2 * DAY:
            assert found.due_at == pytest.approx(starts[end], abs=1)


def regular(interval: float, many: int, spread: float = 0.0) -> Floats:
    random = np.random.default_rng(2)
    return at("2026-01-05") + interval * np.arange(many) + spread * random.random(many)


def test_few_starts_tell_only_where_they_are_alike() -> None:
    found = infer(regular(7 * DAY, 5))
    assert found is not None
    assert (found.rule, found.interval_seconds) == ("every 7 d", 7 * DAY)
    assert infer(regular(7 * DAY, 4)) is None
    assert infer(regular(HOUR, 7, 0.5 * HOUR)) is None
    assert infer(np.array([])) is None


def test_a_pause_and_a_few_missed_runs_change_nothing() -> None:
    starts = regular(HOUR, 60, 30.0)
    starts[20:] += 400 * HOUR
    kept = np.delete(starts, [30, 45])
    found = infer(kept)
    assert found is not None
    assert found.due_at == pytest.approx(kept[-1] + HOUR, abs=60)
    assert found.grace_seconds < 0.6 * HOUR


def test_runs_by_hand_between_do_not_bring_the_due_time_forward() -> None:
    random = np.random.default_rng(3)
    nightly = regular(DAY, 40, 30.0)
    by_hand = random.uniform(nightly[0], nightly[-1], 6)
    found = infer(np.sort(np.concatenate([nightly, by_hand])))
    assert found is not None
    assert found.due_at + found.grace_seconds > nightly[-1] + DAY


def test_a_changed_schedule_is_believed_after_eight_runs() -> None:
    hourly = regular(HOUR, 100, 10.0)
    daily = hourly[-1] + DAY * np.arange(1, 9)
    found = infer(np.concatenate([hourly, daily]))
    assert found is not None
    assert found.due_at == pytest.approx(daily[-1] + DAY, abs=60)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["random", "bursts", "office hours"])
def test_what_follows_no_schedule_is_not_given_one(kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    if kind == "random":
        gaps = random.exponential(3 * HOUR, 80)
    elif kind == "bursts":
        gaps = random.uniform(20, 90, 80)
        gaps[random.integers(3, 12, 40).cumsum() % 80] = random.lognormal(10, 0.9, 40)
    else:  # people, by day
        days = np.repeat(np.arange(10), 8) * DAY + random.uniform(8, 18, 80) * HOUR
        gaps = np.diff(np.sort(days))
    starts = at("2026-01-05") + np.cumsum(gaps)
    told = [end for end in range(30, len(starts)) if infer(starts[:end]) is not None]
    assert len(told) <= 0.12 * (len(starts) - 30)


@pytest.mark.parametrize("zone", [None, UTC, BERLIN, ZoneInfo("Australia/Lord_Howe")])
def test_odd_starts_raise_nothing(zone: Any) -> None:
    random = np.random.default_rng(4)
    for _ in range(300):
        many = int(random.integers(0, 40))
        scale = 10.0 ** random.integers(-6, 9)
        starts = np.unique(np.round(random.pareto(0.5, many) * scale, 6))
        found = infer(starts[starts < 4e9], zone)
        assert found is None or found.due_at > starts[starts < 4e9][-1]
        assert found is None or found.grace_seconds >= 60


def test_it_takes_no_time() -> None:
    starts = starts_of("*/20 8-18 * * 1-5")[:500]
    begin = time.process_time()
    for _ in range(20):
        infer(starts, BERLIN)
    assert (time.process_time() - begin) / 20 < 0.01


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (300, "5 min"), (5400, "1.5 h"), (3599, "1 h"), (86_400, "24 h"), (6e5, "6.9 d")],
)
def test_words(seconds: float, text: str) -> None:
    assert words(seconds) == text
