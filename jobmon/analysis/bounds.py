"""Bounds of what is normal, for alerts that compare one number. Pure.

They are wider than what is judged: a single number can know neither the size of a run nor its hour.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Final, NamedTuple

import numpy as np
from scipy.special import pdtrik

from jobmon.analysis import failures, robust
from jobmon.analysis.runs import ENOUGH_RUNS, Floats, Runs
from jobmon.analysis.thresholds import Thresholds
from jobmon.store.bounds import Bound

ROUNDS: Final = 3
"""In a row that must come to something else before a bound moves."""
LEAST_CHANGE: Final = 0.2
"""Of its value, that counts as something else."""
REST_SECONDS: Final = 7 * 86_400.0
"""Between two moves of a bound."""
_RUNS: Final = 100
_REACH: Final = 4.0
"""Standard deviations: on one side, of a normal number, a chance of 1 in 30,000."""
_LEAST_SD: Final = 0.1
_BEYOND: Final = 1.1
_LEAST_SECONDS: Final = 1.0
_ALPHA: Final = 1e-4


class Limits(NamedTuple):
    """What runs come to, in the order of `jobmon.store.bounds.Bounds`; None: too few tell."""

    duration_lower: float | None = None
    duration_upper: float | None = None
    failure_ratio_upper: float | None = None
    jobs_lower: float | None = None
    jobs_upper: float | None = None


class Lesson(NamedTuple):
    """What one look at a command's runs teaches."""

    limits: Limits
    runs: int
    """That it rests on."""
    started_at: float
    """Of the newest run, as those below; Unix seconds."""
    jobs: float | None
    failure_ratio: float | None
    """None: it had no jobs."""


def learn(runs: Runs, thresholds: Thresholds) -> Lesson:
    """Bounds of a command's runs.

    Args:
        runs: That have ended, at least one.
        thresholds: The least effects that count.
    """
    newest, some = runs.run(len(runs) - 1), runs.last(_RUNS)
    durations = some.duration_seconds[
        np.isfinite(some.duration_seconds) & (some.duration_seconds > 0)
    ]
    duration = spread(durations, thresholds.slower, thresholds.faster, least=_LEAST_SECONDS)
    jobs = _jobs(some.job_count[some.job_count >= 0], thresholds)
    with_jobs = some.where((some.job_count > 0) & (some.failed_jobs >= 0))
    has_jobs = newest.job_count > 0 and newest.failed_jobs >= 0
    return Lesson(
        Limits(*duration, _failures(with_jobs, thresholds), *jobs),
        runs=len(durations),
        started_at=newest.started_at,
        jobs=newest.job_count if newest.job_count >= 0 else None,
        failure_ratio=min(newest.failed_jobs / newest.job_count, 1.0) if has_jobs else None,
    )


def spread(
    values: Floats,
    more: float,
    fewer: float,
    *,
    least: float = 0.0,
    offset: float = 0.0,
    odd: int = 20,
) -> tuple[float | None, float | None]:
    """Between which two numbers positive ones lie, but for odd ones.

    Args:
        values: So many that they tell, or nothing is said.
        more: Least ratio to the usual one that counts; greater than 1.
        fewer: Highest ratio that counts; less than 1.
        least: Difference that counts, in their unit.
        offset: Added before the logarithm, of what may be 0.
        odd: One value in so many may be; the others lie within, by a tenth at least.
    """
    if len(values) < ENOUGH_RUNS:
        return None, None
    logs = np.sort(np.log(values + offset))
    middle, out = robust.median(logs), len(logs) // odd
    reach = _REACH * max(robust.biweight(logs), _LEAST_SD)
    usual = math.exp(middle) - offset
    high = max(middle + max(reach, math.log(more)), float(logs[-1 - out]) + math.log(_BEYOND))
    low = min(float(logs[out]) - math.log(_BEYOND), middle - reach)
    low = min(low, middle + math.log(fewer)) if fewer > 0 else -math.inf
    return (
        max(0.0, min(math.exp(low) - offset, usual - least)),
        max(math.exp(high) - offset, usual + least),
    )


def rounded_up(value: float) -> float:
    """To two digits that count."""
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(value)))


def rounded_down(value: float) -> float:
    """Likewise."""
    return float(Context(prec=2, rounding=ROUND_FLOOR).create_decimal(repr(value)))


def settled(
    known: Bound | None, learned: float | None, now: float, *, is_frozen: bool = False
) -> Bound | None:
    """What becomes of a bound in one round of learning.

    It appears at once. From then on it moves when three rounds in a row come to something that is
    off by more than a fifth, and rests for a week after.

    Args:
        known: The bound so far.
        learned: What this round came to, rounded; None: too little is known.
        now: Unix seconds.
        is_frozen: Something is wrong just now, so that nothing is to be learned from it.
    """
    if known is None:
        return None if learned is None else Bound(learned)
    is_other = learned is not None and abs(learned - known.value) > LEAST_CHANGE * known.value
    if is_frozen or learned is None or not is_other:
        return known._replace(rounds=0)
    rounds = min(known.rounds + 1, ROUNDS)
    if rounds == ROUNDS and now - known.moved_at >= REST_SECONDS:
        return Bound(learned, now)
    return known._replace(rounds=rounds)


def rounded(limits: Limits) -> Limits:
    """Outwards: upper ones up, lower ones down."""
    return Limits(
        *(
            value
            if value is None
            else (rounded_up if name.endswith("_upper") else rounded_down)(value)
            for name, value in limits._asdict().items()
        )
    )


def _jobs(counts: Floats, thresholds: Thresholds) -> tuple[float | None, float | None]:
    some = counts[counts > 0]
    low, high = spread(some, thresholds.more_jobs, thresholds.fewer_jobs)
    if low is None or high is None:
        return None, None
    # Counts vary at least as Poisson's distribution does.
    usual = robust.median(some)
    low = min(low, float(np.nan_to_num(pdtrik(_ALPHA, usual))))
    high = max(high, float(pdtrik(1 - _ALPHA, usual)))
    return (low if len(some) == len(counts) else 0.0), high


def _failures(history: Runs, thresholds: Thresholds) -> float | None:
    if len(history) < ENOUGH_RUNS:
        return None
    usual = failures.learn(history.failed_jobs, history.job_count)
    # Of few jobs the share varies more: those of a smaller run.
    jobs = max(1, round(min(float(np.quantile(history.job_count, 0.25)), 10_000)))
    chances = np.cumsum(failures.distribution(jobs, usual.a, usual.b))
    by_chance = float(np.searchsorted(chances, 1 - _ALPHA)) / jobs
    return min(1.0, max(thresholds.more_failures * max(usual.rate, usual.recent), by_chance))
