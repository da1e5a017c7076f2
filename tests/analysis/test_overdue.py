"""Whether a run that has not ended takes too long."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobmon.analysis.checks import Kind
from jobmon.analysis.overdue import overdue
from jobmon.analysis.runs import Run, Runs

NAN = math.nan
START = 1_750_000_000.0


def runs(durations: list[float]) -> Runs:
    return Runs.of(
        Run(START - 86_400 * (len(durations) - number), NAN, duration, NAN, NAN, NAN, NAN)
        for number, duration in enumerate(durations)
    )


def usual(many: int, spread: float = 0.1, seconds: float = 60.0) -> list[float]:
    random = np.random.default_rng(1)
    return [*(seconds * np.exp(spread * random.standard_normal(many)))]


def is_overdue(durations: list[float], elapsed: float, maximum: float | None = None) -> bool | None:
    check = overdue(runs(durations), START, START + elapsed, maximum)
    return None if check is None else check.is_anomaly


@pytest.mark.parametrize(
    ("elapsed", "verdict"), [(0, False), (60, False), (100, False), (180, True), (6000, True)]
)
def test_a_run_that_takes_much_longer_than_all_before_is_overdue(
    elapsed: float, verdict: bool
) -> None:
    assert is_overdue(usual(50), elapsed) is verdict


def test_what_took_long_before_may_take_long_again() -> None:
    assert is_overdue([*usual(25), *[300.0] * 10, *usual(15)], 400) is False
    assert is_overdue([*usual(99), 600.0], 400), "one run in a hundred excuses none"


def test_a_few_runs_are_not_enough_to_know() -> None:
    assert is_overdue(usual(4), 6000) is None
    assert is_overdue(usual(5), 600) is True


def test_a_declared_maximum_alone_decides() -> None:
    assert is_overdue([], 61, 60) is True
    assert is_overdue([], 60, 60) is False
    assert is_overdue(usual(50), 500, 3600) is False
    assert is_overdue(usual(50), 31, 30) is True


def test_what_is_over_soon_is_no_matter() -> None:
    assert is_overdue([0.01] * 50, 9) is False
    assert is_overdue([0.01] * 50, 11) is True


def test_the_check_says_what_is_usual_and_from_when_on_it_is_too_long() -> None:
    check = overdue(runs([60.0] * 50), START, START + 240)
    assert check is not None
    assert (check.kind, check.metric, check.current) == (Kind.OVERDUE_RUN, "duration", 240.0)
    assert (check.baseline.centre, check.baseline.high, check.baseline.n) == (60.0, 120.0, 50)
    assert (check.ratio, check.threshold) == (4.0, 2.0)
    assert 0 <= check.p_value < 1e-6
    assert check.baseline.last_at == START - 86_400
    declared = overdue(runs([]), START, START + 240, 60)
    assert declared is not None
    assert (declared.test, declared.baseline.centre, declared.ratio) == ("declared maximum", 60, 4)


@pytest.mark.parametrize("odd", [NAN, 0.0, -5.0, math.inf])
def test_odd_durations_are_left_out(odd: float) -> None:
    check = overdue(runs([odd] * 20 + usual(10)), START, START + 100)
    assert check is not None
    assert (check.baseline.n, check.is_anomaly) == (10, False)
    assert is_overdue([odd] * 20, 1e9) is None


def test_a_start_in_the_future_is_not_overdue() -> None:
    assert is_overdue(usual(50), -100) is False
