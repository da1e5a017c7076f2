"""The share of a run's jobs that failed."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import betaln

from jobmon.analysis import robust
from jobmon.analysis.checks import MOST_RATIO, Baseline, Check, Kind
from jobmon.analysis.runs import Floats, Run, Runs

_RUNS: Final = 100
_RECENT_RUNS: Final = 20
"""After half as many, another rate is the new normal."""
_ALPHA: Final = 1e-4
_LEAST_FAILED: Final = 2
_LEAST_CHANGE: Final = 0.002
_MOST_JOBS: Final = 10_000
"""Of a run: of more, so many stand for all, which claims less than is known."""
_INCIDENTS: Final = 0.1
"""At most such a share of the runs is left out as past incidents."""
_MOST_OVERDISPERSION: Final = 0.9


class Usual(NamedTuple):
    """What to expect of the next run."""

    rate: float
    recent: float
    """Median of the newest runs."""
    a: float
    """Of the beta distribution from which each run draws its own rate."""
    b: float

    @property
    def spread(self) -> float:
        """Standard deviation of that distribution."""
        return math.sqrt(self.a * self.b / (self.a + self.b + 1)) / (self.a + self.b)


def judge(history: Runs, latest: Run, more: float, fewer: float) -> list[Check]:
    """Whether more jobs failed than usual, or fewer.

    The chance of so many is that of a beta-binomial distribution: exact for few jobs as for many,
    and runs may differ more than by chance.

    Args:
        history: Runs with jobs.
        latest: Likewise.
        more: Least ratio of the rates that counts.
        fewer: Highest ratio that counts. 0: none does.
    """
    usual = learn(history.failed_jobs, history.job_count)
    scale = min(1.0, _MOST_JOBS / latest.job_count)
    jobs = max(1, round(scale * latest.job_count))
    failed = min(scale * latest.failed_jobs, jobs)
    chances = distribution(jobs, usual.a, usual.b)
    p_more = min(1.0, float(chances[math.floor(failed) :].sum()))
    p_fewer = min(1.0, float(chances[: math.ceil(failed) + 1].sum()))

    at_most = np.cumsum(chances)
    high = max(
        more * max(usual.rate, usual.recent),
        usual.rate + _LEAST_CHANGE,
        float(np.searchsorted(at_most, 1 - _ALPHA)) / jobs,
    )
    low = min(
        fewer * min(usual.rate, usual.recent),
        usual.rate - _LEAST_CHANGE,
        float(np.searchsorted(at_most, _ALPHA)) / jobs,
    )
    rate = min(latest.failed_jobs / latest.job_count, 1.0)
    is_more = p_more < _ALPHA and rate >= high and latest.failed_jobs >= _LEAST_FAILED
    is_fewer = fewer > 0 and p_fewer < _ALPHA and rate <= low
    baseline = Baseline(
        centre=100 * usual.rate,
        low=100 * max(0.0, low),
        high=100 * min(1.0, high),
        spread=usual.spread,
        n=len(history),
        first_at=float(history.started_at[0]),
        last_at=float(history.started_at[-1]),
    )
    ratio = min(rate / usual.rate, MOST_RATIO)
    return [
        Check(
            kind,
            "failure_rate",
            100 * rate,
            baseline,
            ratio,
            p_value,
            "beta-binomial",
            threshold,
            is_anomaly,
        )
        for kind, p_value, threshold, is_anomaly in (
            (Kind.FAILURE_RATE_SPIKE, p_more, more, is_more),
            (Kind.FAILURE_RATE_DROP, p_fewer, fewer, is_fewer),
        )
    ]


def learn(failed: Floats, jobs: Floats) -> Usual:
    """From the last 100 runs with jobs, past incidents left out.

    The rate has Jeffreys' prior. How much runs differ beyond chance is Pearson's chi-square by its
    degrees, guarded upwards, as few runs tell little of it.
    """
    jobs = jobs[-_RUNS:]
    failed = np.clip(failed[-_RUNS:], 0, jobs)
    rates = failed / jobs
    middle, recent = robust.median(rates), robust.median(rates[-_RECENT_RUNS:])
    deviation = robust.median(np.abs(rates - middle))
    chance = np.sqrt(middle * (1 - middle) / jobs)
    is_incident = rates > middle + np.maximum(10 * deviation, 0.1 + 6 * chance)
    if np.count_nonzero(is_incident) <= _INCIDENTS * len(rates):
        failed, jobs = failed[~is_incident], jobs[~is_incident]
    total = float(jobs.sum())
    rate = (float(failed.sum()) + 0.5) / (total + 1)
    n = len(jobs)
    beyond = float((jobs - 1).sum())
    dispersion = 0.0
    if beyond > 0:
        square = float(((failed - rate * jobs) ** 2 / jobs).sum()) / (rate * (1 - rate))
        found = max(0.0, (square - (n - 1)) / beyond) * (1 + 2 / math.sqrt(n))
        dispersion = min(found, _MOST_OVERDISPERSION)
    size = 1 / (dispersion + 1 / (total + 2)) - 1
    return Usual(rate, recent, rate * size, (1 - rate) * size)


def distribution(jobs: int, a: float, b: float) -> Floats:
    """Chances of 0, 1, 2, … failed ones of so many jobs: beta-binomial."""
    failed = np.arange(jobs)
    rises = np.log((jobs - failed) * (failed + a) / ((failed + 1) * (jobs - failed - 1 + b)))
    logs = np.concatenate([[0.0], np.cumsum(rises)])
    return np.exp(logs + float(betaln(a, jobs + b) - betaln(a, b)))
