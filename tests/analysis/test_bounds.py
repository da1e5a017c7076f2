"""Bounds hold what is normal, move seldom, and are kept for whoever learns next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.analysis.bounds import (
    LEAST_CHANGE,
    REST_SECONDS,
    ROUNDS,
    learn,
    rounded,
    rounded_down,
    rounded_up,
    settled,
    spread,
)
from jobmon.analysis.learning import Learning
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.thresholds import Thresholds
from jobmon.store.bounds import Bound, Bounds, BoundStore, Learned, by_command
from jobmon.store.keys import Keys
from jobmon.store.series import MOST_COMMANDS
from tests.analysis.evaluated import HOUR, Evaluated, evaluated
from tests.conftest import RedisServer
from tests.databases import Database, made

NOW = 1_800_000_000.0
WEEK = REST_SECONDS
USUAL = Thresholds()
NUMBERS = st.floats(1e-6, 1e12)


def runs(many: int, seed: int = 1, **more: float) -> Runs:
    """Alike but for some percent."""
    given = {"seconds": 60.0, "sd": 0.1, "jobs": 50.0, "failed": 0.01, **more}
    random = np.random.default_rng(seed)
    made: list[Run] = []
    for at in range(many):
        seconds = given["seconds"] * float(np.exp(given["sd"] * random.normal()))
        jobs = float(random.poisson(given["jobs"]))
        failed = float(random.binomial(int(jobs), given["failed"]))
        made.append(Run(NOW + HOUR * at, seconds * 3, seconds, jobs, failed, 1e8, 0.1))
    return Runs.of(made)


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (0.0, 0.0, 0.0),
        (0.3, 0.3, 0.3),
        (0.1234, 0.13, 0.12),
        (1.3e-5, 1.3e-5, 1.3e-5),
        (99.1, 100.0, 99.0),
        (100.0, 100.0, 100.0),
        (101.0, 110.0, 100.0),
        (12_345.6, 13_000.0, 12_000.0),
    ],
)
def test_two_digits_count(value: float, up: float, down: float) -> None:
    assert (rounded_up(value), rounded_down(value)) == (up, down)


@given(NUMBERS)
def test_rounding_goes_outwards_by_a_tenth_at_most_and_once(value: float) -> None:
    up, down = rounded_up(value), rounded_down(value)
    assert down <= value <= up
    assert up <= value * 1.1 * (1 + 1e-9)
    assert down >= value * 0.9 * (1 - 1e-9)
    assert (rounded_up(up), rounded_down(down)) == (up, down)


def test_a_bound_appears_at_once_and_moves_after_three_rounds() -> None:
    bound = settled(None, 60.0, NOW)
    assert bound == Bound(60.0)
    said = [bound]
    for at in range(ROUNDS):
        said.append(bound := settled(bound, 90.0, NOW + at))
    assert [one and one.value for one in said] == [60.0, 60.0, 60.0, 90.0]
    assert bound == Bound(90.0, NOW + ROUNDS - 1)


@pytest.mark.parametrize("learned", [49.0, 60.0, 71.9, None])
def test_what_is_off_by_a_fifth_at_most_moves_nothing(learned: float | None) -> None:
    bound: Bound | None = Bound(60.0, 0.0, 2)
    for at in range(10):
        bound = settled(bound, learned, NOW + at)
        assert bound == Bound(60.0)


def test_rounds_must_be_in_a_row() -> None:
    bound: Bound | None = Bound(60.0)
    for at, learned in enumerate([90.0, 90.0, 61.0, 90.0, 90.0, 60.0]):
        bound = settled(bound, learned, NOW + at)
        assert bound is not None
        assert bound.value == 60.0


def test_it_rests_for_a_week_after_it_has_moved() -> None:
    bound: Bound | None = Bound(60.0, NOW)
    for at in range(100):
        bound = settled(bound, 90.0, NOW + at * (WEEK / 100))
        assert bound is not None
        assert bound.value == 60.0
    assert settled(bound, 95.0, NOW + WEEK) == Bound(95.0, NOW + WEEK)


def test_nothing_is_learned_while_something_is_wrong() -> None:
    bound: Bound | None = Bound(60.0, 0.0, 2)
    for at in range(5):
        bound = settled(bound, 600.0, NOW + at, is_frozen=True)
        assert bound == Bound(60.0)
    # Nor do rounds before it count afterwards.
    for at in range(2):
        bound = settled(bound, 600.0, NOW + at)
        assert bound is not None
        assert bound.value == 60.0


ROUND = st.tuples(st.floats(1.0, 1e6) | st.none(), st.floats(0.0, 3 * 86_400.0), st.booleans())


@given(st.lists(ROUND, max_size=60))
def test_whatever_is_learned_a_bound_moves_seldom_and_for_a_reason(
    given_rounds: list[tuple[float | None, float, bool]],
) -> None:
    now, bound = NOW, None
    moves: list[float] = []
    history: list[tuple[float | None, bool]] = []
    for learned, passed, is_frozen in given_rounds:
        now += passed
        history.append((learned, is_frozen))
        before, bound = bound, settled(bound, learned, now, is_frozen=is_frozen)
        if before is None:
            assert (bound and bound.value) == learned
            continue
        assert bound is not None
        if bound.value == before.value:
            continue
        assert bound.value == learned
        last = history[-ROUNDS:]
        assert len(last) == ROUNDS
        for value, was_frozen in last:
            assert not was_frozen
            assert value is not None
            assert abs(value - before.value) > LEAST_CHANGE * before.value
        moves.append(now)
    assert all(b - a >= WEEK for a, b in pairwise(moves))


def test_bounds_hold_nearly_all_runs_that_are_alike() -> None:
    out = 0
    for seed in range(40):
        limits = rounded(learn(runs(60, seed), USUAL).limits)
        for run in (runs(200, 1000 + seed).run(at) for at in range(200)):
            low, high, failures, fewest, most = limits
            assert None not in limits
            out += not low <= run.duration_seconds <= high  # type: ignore[operator]
            out += run.failed_jobs / run.job_count > failures  # type: ignore[operator]
            out += not fewest <= run.job_count <= most  # type: ignore[operator]
    assert out <= 3  # of 24,000


@pytest.mark.parametrize(("factor", "is_beyond"), [(1.3, False), (2.0, True), (0.6, False)])
def test_a_run_that_takes_twice_as_long_is_beyond(factor: float, is_beyond: bool) -> None:
    limits = rounded(learn(runs(100), USUAL).limits)
    assert limits.duration_upper is not None
    assert (60.0 * factor > limits.duration_upper) is is_beyond


def test_odd_runs_do_not_stretch_a_bound_and_one_in_ten_does() -> None:
    usual = learn(runs(100), USUAL).limits.duration_upper
    table = np.full(100, 60.0)
    for odd, is_stretched in ((4, False), (10, True)):
        values = table.copy()
        values[:: 100 // odd][:odd] = 600.0
        values *= np.exp(0.1 * np.random.default_rng(2).normal(size=100))
        _, high = spread(values, 1.5, 0.5)
        assert high is not None
        assert usual is not None
        assert (high > 2 * usual) is is_stretched


def test_what_is_too_little_teaches_nothing_but_the_newest_run() -> None:
    lesson = learn(runs(4), USUAL)
    assert set(lesson.limits) == {None}
    newest = runs(4).run(3)
    assert (lesson.jobs, lesson.started_at) == (newest.job_count, newest.started_at)
    idle = Runs.of([Run(NOW + at, 5.0, 5.0, 0.0, 0.0, 1e8, np.nan) for at in range(10)])
    lesson = learn(idle, USUAL)
    assert (lesson.jobs, lesson.failure_ratio) == (0.0, None)
    assert lesson.limits[2:] == (None, None, None)
    assert lesson.limits.duration_upper is not None


def test_runs_of_an_instant_have_no_lower_bound_and_a_second_more() -> None:
    limits = learn(runs(50, seconds=0.05), USUAL).limits
    assert limits.duration_lower == 0.0
    assert limits.duration_upper is not None
    assert limits.duration_upper > 1.0


@pytest.fixture
def fleet(store: RedisServer, tmp_path: Any) -> Iterator[Evaluated]:
    with made("sqlite", tmp_path) as database, evaluated(database, store) as one:
        yield one


def learned(fleet: Evaluated, command: str = "data:process") -> Learned:
    return shown(fleet)[command]


def shown(fleet: Evaluated) -> dict[str, Learned]:
    return by_command(fleet.client.hgetall(Keys("jobmon:").command_bounds))


def seen(fleet: Evaluated, *commands: str) -> None:
    """Commands that have series of their own."""
    for command in commands or ("data:process",):
        fleet.finish(fleet.start(command), command)


def test_the_first_evaluation_learns_of_runs_that_were_judged_before(fleet: Evaluated) -> None:
    seen(fleet)
    fleet.steady(many=30, seconds=60.0)
    fleet.judge_all()
    fleet.analyze()
    found = learned(fleet)
    assert (found.runs, found.jobs, found.failure_ratio) == (30, 50.0, 0.0)
    assert found.longest is not None
    assert 80 <= found.longest <= 100
    assert found.bounds.jobs_lower is not None
    assert time.time() - found.learned_at < 60
    # Nothing new: nothing more is learned.
    fleet.analyze()
    assert learned(fleet) == found


def test_the_duration_is_that_of_the_run_itself_whatever_its_jobs_take(fleet: Evaluated) -> None:
    seen(fleet)
    fleet.runs("data:process", [{"seconds": 60.0}] * 20)
    fleet.analyze()
    found = learned(fleet)
    assert found.longest == pytest.approx(60 * 1.5, rel=0.1)


def test_every_leader_goes_on_where_the_last_one_was(fleet: Evaluated) -> None:
    seen(fleet)
    fleet.runs("data:process", [{"seconds": 60.0}] * 6, every=60)
    fleet.analyze()
    values = [learned(fleet).longest]
    for _ in range(14):
        fleet.now += 60
        fleet.run(seconds=80.0)  # not so much slower that it is an anomaly
        fleet.analyzer = type(fleet.analyzer)(fleet.engine, fleet.client, fleet.settings)
        fleet.analyze()
        values.append(learned(fleet).longest)
    assert fleet.incidents() == []
    assert values[0] == 90.0
    assert values[1:4] == [90.0] * 3
    assert values[-1] == 120.0
    assert set(values) == {90.0, 120.0}  # once within a week


def test_a_bound_is_frozen_while_an_anomaly_is_open(fleet: Evaluated) -> None:
    seen(fleet)
    fleet.steady(many=20, seconds=60.0)
    fleet.judge_all()
    fleet.analyze()
    before = learned(fleet)
    rounds = 0
    for _ in range(8):
        fleet.now += 60
        fleet.run(seconds=900.0, jobs=50)
        fleet.analyze_new()
        [incident] = fleet.incidents()
        found = learned(fleet)
        if incident["state"] == "open":
            rounds += 1
            assert found.bounds == before.bounds
            assert found.learned_at > before.learned_at
    assert rounds > ROUNDS


def test_what_is_declared_stands_in_place_of_what_is_learned(
    store: RedisServer, tmp_path: Any
) -> None:
    commands = {
        "data:process": {"maximum_run_time_seconds": 7230.5, "start_margin_seconds": 600},
        "quiet": {"mute": True},
    }
    own = {"analyze_mode__commands": commands}
    with made("sqlite", tmp_path) as database, evaluated(database, store, **own) as fleet:
        seen(fleet, "data:process", "quiet", "new")
        fleet.steady(many=20)
        fleet.steady("quiet", many=20)
        fleet.run("new")
        fleet.analyze()
        found = learned(fleet)
        assert found.longest == 7230.5
        assert found.bounds.duration_upper is not None
        assert found.bounds.duration_upper.value < 60
        assert found.grace_seconds == 600
        # Nobody is to be told of it, nor do rules.
        assert "quiet" not in shown(fleet)
        new = learned(fleet, "new")
        assert (new.longest, new.jobs, new.bounds) == (None, 50.0, Bounds())


def test_it_is_known_when_a_command_has_to_start_next(fleet: Evaluated) -> None:
    seen(fleet, "hourly", "whenever")
    fleet.steady("hourly", many=20)
    random = np.random.default_rng(3)
    for ago in np.cumsum(random.exponential(7 * HOUR, 12)):
        fleet.run("whenever", ago=float(ago))
    fleet.analyze()
    hourly = learned(fleet, "hourly")
    assert hourly.expected_at == pytest.approx(fleet.now, abs=120)
    assert hourly.expected_after == pytest.approx(fleet.now - HOUR, abs=1)
    assert hourly.grace_seconds is not None
    assert 60 < hourly.grace_seconds <= HOUR
    whenever = learned(fleet, "whenever")
    assert (whenever.expected_at, whenever.grace_seconds) == (None, None)


def test_a_command_without_series_of_its_own_is_not_learned(fleet: Evaluated) -> None:
    fleet.steady(many=20)
    fleet.analyze()
    assert "data:process" not in shown(fleet)


def test_commands_that_run_no_more_are_forgotten(fleet: Evaluated) -> None:
    seen(fleet, "data:process", "gone")
    fleet.steady(many=10)
    fleet.analyze()
    store = BoundStore(fleet.client, fleet.settings)
    [key] = store.commands()
    long_ago = datetime.now(UTC) - timedelta(days=40)
    gone = Learned(bounds=Bounds(Bound(1.0)), runs=30, started_at=long_ago.timestamp())
    store.write({(*key[:2], "gone"): gone})
    assert "gone" in shown(fleet)
    fleet.analyze()
    assert set(shown(fleet)) == {"data:process"}


def test_what_was_learned_holds_as_long_as_analyses_go_on(fleet: Evaluated) -> None:
    name = Keys("jobmon:").command_bounds
    seen(fleet)
    fleet.steady(many=10)
    fleet.analyze()
    assert 29 * 86_400 < fleet.client.ttl(name) <= 30 * 86_400
    fleet.client.expire(name, 10)
    fleet.analyze()  # which learns nothing new
    assert fleet.client.ttl(name) > 10


def test_there_are_five_hundred_at_most(fleet: Evaluated) -> None:
    store = BoundStore(fleet.client, fleet.settings)
    one = Learned(bounds=Bounds(), started_at=time.time())
    store.write({("default", "production", f"c{at}"): one for at in range(MOST_COMMANDS)})
    seen(fleet)
    fleet.steady(many=10)
    fleet.analyze()
    assert "data:process" not in shown(fleet)
    learning = Learning(fleet.client, fleet.settings)
    learning.begin()
    assert len(store.commands()) == MOST_COMMANDS


def test_commands_of_the_same_name_show_the_widest_bounds(store: RedisServer) -> None:
    from jobmon.settings import load
    from jobmon.store import connection

    settings = load({"redis.url": store.url}, environ={})
    first = Learned(
        bounds=Bounds(Bound(5.0), Bound(60.0), None, Bound(1.0), Bound(9.0)),
        runs=30,
        started_at=2.0,
        jobs=4.0,
    )
    second = Learned(
        bounds=Bounds(Bound(2.0), Bound(50.0), Bound(0.1), Bound(3.0), Bound(70.0)),
        maximum_seconds=80.0,
        runs=9,
        started_at=1.0,
        jobs=5.0,
    )
    with connection.connect(settings) as client:
        kept = BoundStore(client, settings)
        kept.write({("a", "production", "x"): first, ("b", "production", "x"): second})
        client.hset("jobmon:bounds:commands", "a\x1fb\x1fbroken", b"{]")
        client.hset("jobmon:bounds:commands", "a\x1fb\x1fodd", b'{"bounds": {"jobs_lower": 1}}')
        found = by_command(client.hgetall("jobmon:bounds:commands"))
        assert kept.commands()["a", "production", "x"] == first
    assert set(found) == {"x", "odd"}
    values = [bound and bound.value for bound in found["x"].bounds]
    assert values == [2.0, 60.0, 0.1, 1.0, 70.0]
    assert (found["x"].longest, found["x"].runs, found["x"].jobs) == (80.0, 9, 4.0)
    assert found["odd"] == Learned(bounds=Bounds())


def test_each_database_learns_the_same(own_database: Database, store: RedisServer) -> None:
    with evaluated(own_database, store) as fleet:
        seen(fleet)
        fleet.steady(many=12, seconds=60.0)
        fleet.analyze()
        found = learned(fleet)
        assert found.longest in (90.0, 91.0)
