"""Judgements of single runs: what holds for any history, and what formulas give."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.anomalies import control
from jobmon.analysis import discoveries, robust
from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.judge import judge
from jobmon.analysis.runs import ENOUGH_RUNS, Run, Runs
from jobmon.analysis.thresholds import Thresholds

MONDAY = 1736121600.0
HOUR = 3600.0
DAY = 24 * HOUR
SENSITIVE = Thresholds(slower=1.25, faster=0.8, more_jobs=1.5, fewer_jobs=1 / 1.5)


def history(
    n: int = 60, seed: int = 1, *, spread: float = 0.06, every: float = HOUR, jobs: float = 100
) -> list[Run]:
    """Runs that differ by chance alone, one an hour."""
    rng = np.random.default_rng(seed)
    runs: list[Run] = []
    for at in range(n):
        count = max(1, round(jobs * math.exp(0.1 * rng.standard_normal())))
        seconds = 0.5 * count * math.exp(spread * rng.standard_normal())
        memory = 1e8 * math.exp(0.03 * rng.standard_normal())
        queue = math.exp(0.3 * rng.standard_normal())
        failed = rng.binomial(count, 0.01)
        runs.append(Run(MONDAY + at * every, seconds, seconds, count, float(failed), memory, queue))
    return runs


def kinds(runs: list[Run], latest: Run, thresholds: Thresholds = SENSITIVE) -> set[Kind]:
    return {one.kind for one in judge(Runs.of(runs), latest, thresholds).anomalies}


def test_a_run_like_those_before_is_normal() -> None:
    alarms = 0
    for seed in range(200):
        *before, latest = history(61, seed)
        alarms += bool(kinds(before, latest))
    assert alarms <= 2


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"work_seconds": 150.0}, Kind.PERFORMANCE_DEGRADATION),
        ({"work_seconds": 20.0}, Kind.PERFORMANCE_IMPROVEMENT),
        ({"job_count": 400.0, "work_seconds": 200.0}, Kind.WORKLOAD_SPIKE),
        ({"job_count": 20.0, "work_seconds": 10.0}, Kind.WORKLOAD_DROP),
        ({"failed_jobs": 30.0}, Kind.FAILURE_RATE_SPIKE),
        ({"peak_memory_bytes": 2.5e8}, Kind.MEMORY_GROWTH),
        ({"queue_time_seconds": 40.0}, Kind.QUEUE_TIME_GROWTH),
    ],
)
def test_each_kind_is_told_apart(change: dict[str, float], kind: Kind) -> None:
    usual = Run(MONDAY + 60 * HOUR, 50.0, 50.0, 100.0, 1.0, 1e8, 1.0)
    for seed in range(10):
        assert kinds(history(seed=seed), usual._replace(**change), Thresholds()) == {kind}


@pytest.mark.parametrize("more", [1.0000001, 1000.0])
@pytest.mark.parametrize("fewer", [0.0, 1e-9, 0.9999999])
def test_every_threshold_that_settings_allow_can_be_judged_by(more: float, fewer: float) -> None:
    usual = Run(MONDAY + 60 * HOUR, 50.0, 50.0, 100.0, 1.0, 1e8, 1.0)
    at = Thresholds(more, fewer, more, fewer, more, fewer, more, more)
    for run in (
        usual,
        Run(MONDAY + 60 * HOUR, 1e-6, 1e-6, 1.0, 0.0, 1.0, 0.0),
        usual._replace(work_seconds=0.5, job_count=0.0, failed_jobs=0.0),
        Run(MONDAY + 60 * HOUR, 1e9, 1e9, 1e6, 1e6, 1e15, 1e6),
    ):
        checks = judge(Runs.of(history()), run, at).checks
        bounds = [edge for one in checks for edge in (one.baseline.low, one.baseline.high)]
        assert np.isfinite(bounds).all()


def test_a_lower_threshold_of_0_switches_a_kind_off() -> None:
    failing = [one._replace(failed_jobs=40.0) for one in history()]
    odd = Run(MONDAY + 60 * HOUR, 0.01, 0.01, 4.0, 0.0, 1e8, 1.0)
    idle = odd._replace(job_count=0.0)
    whole = Run(MONDAY + 60 * HOUR, 50.0, 50.0, 100.0, 0.0, 1e8, 1.0)
    off = Thresholds(faster=0.0, fewer_jobs=0.0, fewer_failures=0.0)
    for run in (odd, idle, whole):
        assert kinds(failing, run, Thresholds())
        assert not kinds(failing, run, off)


def test_three_times_the_work_is_not_slow() -> None:
    *before, latest = history(61, 2)
    larger = latest._replace(
        job_count=3 * latest.job_count, work_seconds=3 * latest.work_seconds, failed_jobs=0.0
    )
    assert kinds(before, larger) == {Kind.WORKLOAD_SPIKE}


def test_the_hours_of_the_day_are_expected_to_differ() -> None:
    def by_day(runs: list[Run]) -> list[Run]:
        return [
            one._replace(work_seconds=one.work_seconds * (3 if 8 <= at % 24 < 20 else 1))
            for at, one in enumerate(runs)
        ]

    for end in range(240, 264):
        *before, latest = by_day(history(end + 1))
        assert kinds(before, latest) == set()
    *before, latest = by_day(history(24 * 10 + 3))  # at night
    slow = latest._replace(work_seconds=latest.work_seconds * 3)
    assert kinds(before, slow) == {Kind.PERFORMANCE_DEGRADATION}


def test_a_change_that_lasts_is_seen_and_becomes_normal() -> None:
    runs = history(160, spread=0.1)
    shifted = [
        one._replace(work_seconds=one.work_seconds * (1.45 if at >= 100 else 1))
        for at, one in enumerate(runs)
    ]
    found = [
        Kind.PERFORMANCE_DEGRADATION in kinds(shifted[:at], shifted[at]) for at in range(100, 160)
    ]
    assert any(found[:12])
    assert not any(found[35:])


def test_a_shift_is_seen_within_three_runs() -> None:
    seen = 0
    for seed in range(40):
        runs = [
            one._replace(work_seconds=one.work_seconds * (1.6 if at >= 40 else 1))
            for at, one in enumerate(history(43, seed, spread=0.09))
        ]
        seen += any(
            Kind.PERFORMANCE_DEGRADATION in kinds(runs[:at], runs[at]) for at in range(40, 43)
        )
    assert seen >= 38


def test_runs_that_resemble_their_neighbours_wander_without_alarm() -> None:
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise, now = 0.0, []
        for one in history(43, seed, spread=0.0):
            noise = 0.7 * noise + math.sqrt(1 - 0.7**2) * rng.standard_normal()
            now.append(one._replace(work_seconds=one.work_seconds * math.exp(0.2 * noise)))
        alarms += bool(kinds(now[:-1], now[-1]))
    assert alarms <= 3


def test_few_runs_are_not_enough() -> None:
    verdict = judge(Runs.of(history(ENOUGH_RUNS - 1)), history()[-1], Thresholds())
    assert not verdict.is_enough
    assert verdict.checks == ()
    assert judge(Runs.of(history(ENOUGH_RUNS)), history()[-1], Thresholds()).is_enough


def test_every_question_has_its_p_value_and_bounds() -> None:
    *before, latest = history(61)
    verdict = judge(Runs.of(before), latest, Thresholds())
    assert {one.kind for one in verdict.checks} == {
        kind for kind in Kind if kind not in (Kind.MISSED_EXECUTION, Kind.OVERDUE_RUN)
    }
    for one in verdict.checks:
        assert 0 <= one.p_value <= 1
        usual = one.baseline
        assert 0 <= usual.low <= usual.centre <= usual.high
        assert (usual.n, usual.first_at, usual.last_at) == (60, MONDAY, MONDAY + 59 * HOUR)
        assert usual.low <= one.usual[0] <= one.usual[1] <= usual.high


NAN = math.nan
ODD = st.one_of(
    st.sampled_from([0.0, NAN, 1.0, 1e-9, 1e12]), st.floats(0, 1e6, allow_subnormal=False)
)
COUNT = st.one_of(st.sampled_from([0.0, NAN, 1.0, 1e6]), st.integers(0, 10_000).map(float))
ROW = st.tuples(st.one_of(st.just(MONDAY), st.floats(0, 2e9)), ODD, ODD, COUNT, COUNT, ODD, ODD)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=40), ROW)
def test_no_history_is_too_odd(rows: list[tuple[float, ...]], latest: tuple[float, ...]) -> None:
    for one in judge(Runs.of(Run(*row) for row in rows), Run(*latest), Thresholds()).checks:
        assert 0 <= one.p_value <= 1
        assert not math.isnan(one.ratio)


@pytest.mark.parametrize(
    "odd",
    [
        {"peak_memory_bytes": NAN, "queue_time_seconds": NAN},
        {"work_seconds": 0.0},
        {"work_seconds": NAN},
        {"job_count": 0.0, "failed_jobs": 0.0},
        {"started_at": MONDAY},
    ],
)
def test_nothing_is_made_of_what_is_always_odd(odd: dict[str, float]) -> None:
    *before, latest = (one._replace(**odd) for one in history(31))
    assert kinds(before, latest) == set()


def test_equal_values_do_not_make_the_next_one_odd() -> None:
    before = [one._replace(work_seconds=5.0, job_count=1.0, failed_jobs=0.0) for one in history(30)]
    assert kinds(before, before[-1]._replace(work_seconds=5.01)) == set()


def test_the_order_of_the_history_does_not_matter_and_nothing_is_changed() -> None:
    *before, latest = history(61)
    latest = latest._replace(work_seconds=latest.work_seconds * 2)
    runs = Runs.of(before)
    kept = {one.name: getattr(runs, one.name).copy() for one in fields(runs)}
    shuffled = [before[at] for at in np.random.default_rng(3).permutation(len(before))]
    assert judge(runs, latest, Thresholds()) == judge(Runs.of(shuffled), latest, Thresholds())
    assert all(np.array_equal(getattr(runs, name), old) for name, old in kept.items())


@pytest.mark.parametrize("factor", [0.1, 7.0, 60.0])
def test_units_of_time_and_memory_do_not_matter(factor: float) -> None:
    for seed in range(20):
        *before, latest = history(61, seed)
        latest = latest._replace(work_seconds=latest.work_seconds * 1.4)

        def scaled(one: Run) -> Run:
            return one._replace(
                work_seconds=one.work_seconds * factor,
                peak_memory_bytes=one.peak_memory_bytes * factor,
            )

        same = kinds([scaled(one) for one in before], scaled(latest))
        assert same == kinds(before, latest)


def test_weeks_later_it_is_the_same() -> None:
    *before, latest = history(200)
    late = [one._replace(started_at=one.started_at + 21 * DAY) for one in [*before, latest]]
    assert kinds(late[:-1], late[-1]) == kinds(before, latest)


def test_what_is_slow_is_still_slow_when_it_is_slower() -> None:
    *before, latest = history(61)
    for factor in (1.5, 2, 4, 100, 1e6):
        slow = latest._replace(work_seconds=latest.work_seconds * factor)
        assert Kind.PERFORMANCE_DEGRADATION in kinds(before, slow)


def test_failures_are_counted_by_the_beta_binomial_distribution() -> None:
    """Without overdispersion, of one pooled sample: Jeffreys' prior, exactly."""
    runs = [one._replace(job_count=100.0, failed_jobs=1.0) for one in history(40)]
    latest = runs[-1]._replace(failed_jobs=8.0)
    (check,) = (
        one
        for one in judge(Runs.of(runs), latest, Thresholds()).checks
        if one.kind is Kind.FAILURE_RATE_SPIKE
    )
    rate = (40 + 0.5) / (4000 + 1)
    size = 1 / (1 / (4000 + 2)) - 1
    exact = stats.betabinom.sf(7, 100, rate * size, (1 - rate) * size)
    assert check.p_value == pytest.approx(exact, rel=1e-6)
    assert check.is_anomaly


def test_two_failures_of_five_are_no_alarm_and_three_are() -> None:
    runs = [one._replace(job_count=5.0, failed_jobs=0.0) for one in history(50)]
    few = runs[-1]
    assert Kind.FAILURE_RATE_SPIKE not in kinds(runs, few._replace(failed_jobs=1.0))
    assert Kind.FAILURE_RATE_SPIKE in kinds(runs, few._replace(failed_jobs=3.0))


def test_the_biweight_scale_is_the_deviation_of_normal_values_and_ignores_outliers() -> None:
    values = np.random.default_rng(5).standard_normal(20_000)
    assert robust.biweight(values) == pytest.approx(1.0, abs=0.03)
    values[:2000] = 1e6
    assert robust.biweight(values) < 1.5


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    rng = np.random.default_rng(9)
    values = np.concatenate([rng.uniform(size=500), rng.uniform(size=20) * 1e-5])
    highest = discoveries.limit(list(values))
    adjusted = stats.false_discovery_control(values)
    assert {*np.flatnonzero(values <= highest)} == {*np.flatnonzero(adjusted <= 0.02)}


def test_controlled_checks_stay_in_their_places() -> None:
    *before, latest = history(61)
    slow = latest._replace(work_seconds=latest.work_seconds * 5)
    found = control([judge(Runs.of(before), one, Thresholds()).checks for one in (latest, slow)])
    told: list[set[Kind]] = [{one.kind for one in some if one.is_anomaly} for some in found]
    assert told == [set(), {Kind.PERFORMANCE_DEGRADATION}]
    assert all(isinstance(one, Check) for some in found for one in some)
