"""Runs of commands as the analysis reads them: of those that run often, the newest 300."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from jobmon.analysis.missed import Expectation, expected
from jobmon.history.runs import MOST_RUNS, RunReader, Window
from jobmon.history.write import Batch
from tests.analysis.evaluated import OWN, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database, made

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MONDAY = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
FRIDAY_EVENING = 11 * DAY + 18 * HOUR


@pytest.fixture
def sqlite(store: RedisServer, tmp_path: Path) -> Iterator[Evaluated]:
    with made("sqlite", tmp_path) as database, evaluated(database, store) as one:
        yield one


def is_office_hour(at: float) -> bool:
    return at % (7 * DAY) < 5 * DAY and 8 * HOUR <= at % DAY <= 18 * HOUR


def is_any_hour(_at: float) -> bool:
    return True


def fill(
    fleet: Evaluated,
    interval: float,
    is_open: Callable[[float], bool],
    until: float,
    app: str = "default",
) -> None:
    """Runs from a Monday on, each some seconds late."""
    random = np.random.default_rng(5)
    starts = [at for at in np.arange(0.0, until + 1, interval) if is_open(at)]
    late = random.uniform(0, 20, len(starts))
    made = [
        fleet.row("poll", ago=fleet.now - MONDAY - at, app=app)
        for at in (np.array(starts) + late).tolist()
    ]
    fleet.write(Batch(runs=made))


def read(fleet: Evaluated, app: str = "default") -> Window:
    since = datetime.fromtimestamp(MONDAY, UTC) - timedelta(days=9)
    reader = RunReader(fleet.engine, OWN)
    ((_, windows),) = reader.windows(["poll"], since)
    assert isinstance(windows, list)
    [window] = [one for one in windows if one.key.app == app]
    assert len(window.ids) == MOST_RUNS
    return window


def awaited(window: Window, now: float) -> Expectation:
    """What is, so many seconds after the Monday."""
    found = expected(window.numbers[:, 0], MONDAY + now, next_starts=window.next_starts)
    assert found is not None
    return found


@pytest.mark.parametrize("minutes", [1, 2, 5, 10])
def test_one_that_runs_often_by_day_is_missed_by_day_alone(sqlite: Evaluated, minutes: int) -> None:
    interval = minutes * MINUTE
    thursday_evening = FRIDAY_EVENING - DAY
    fill(sqlite, interval, is_office_hour, thursday_evening)
    window = read(sqlite)
    friday = thursday_evening + 14 * HOUR
    assert not awaited(window, thursday_evening + 3 * interval).is_missed
    assert not awaited(window, friday + MINUTE).is_missed
    assert awaited(window, friday + 3 * HOUR).is_missed


@pytest.mark.parametrize("minutes", [1, 2, 5, 10])
def test_one_that_runs_often_on_working_days_is_missed_on_them_alone(
    sqlite: Evaluated, minutes: int
) -> None:
    fill(sqlite, minutes * MINUTE, is_office_hour, FRIDAY_EVENING)
    window = read(sqlite)
    monday = FRIDAY_EVENING + 62 * HOUR
    for now in (FRIDAY_EVENING + 3 * minutes * MINUTE, FRIDAY_EVENING + 14.1 * HOUR, monday):
        assert not awaited(window, now).is_missed
    assert awaited(window, monday + 3 * HOUR).is_missed


@pytest.mark.parametrize("minutes", [1, 2, 5, 10])
def test_one_that_stops_by_day_is_missed_at_once(sqlite: Evaluated, minutes: int) -> None:
    noon = 7 * DAY + 12 * HOUR  # on a Monday, after a weekend
    fill(sqlite, minutes * MINUTE, is_office_hour, noon)
    assert awaited(read(sqlite), noon + 4 * minutes * MINUTE).is_missed


def test_one_that_never_sleeps_is_missed_when_it_stops(
    own_database: Database, store: RedisServer
) -> None:
    evening = 2 * DAY + 18 * HOUR
    with evaluated(own_database, store) as fleet:
        fill(fleet, MINUTE, is_any_hour, evening, app="always")
        fill(fleet, MINUTE, is_office_hour, evening)
        assert awaited(read(fleet, "always"), evening + 4 * MINUTE).is_missed
        assert not awaited(read(fleet), evening + 4 * MINUTE).is_missed
        assert sorted(read(fleet).next_starts) == [1, 2]


def test_a_young_one_is_asked_of_no_day_before_it_began(sqlite: Evaluated) -> None:
    fill(sqlite, MINUTE, is_any_hour, 6 * HOUR)
    window = read(sqlite)
    assert window.next_starts == {}
    assert awaited(window, 6 * HOUR + 4 * MINUTE).is_missed
