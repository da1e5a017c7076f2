"""The share of a run's jobs that failed."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import betaln

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

_WINDOW: Final = 100
_RECENT: Final = 20
_MOST: Final = 10_000
"""Jobs of a run that are told apart: of more, so many stand for all."""


class Rates(NamedTuple):
    """What was usual."""

    rate: float
    a: float
    """Of the beta distribution that a run's own rate is drawn from."""
    b: float
    recent: float
    """Median rate of the newest runs."""
    deviation: float
    """Standard deviation of the runs' own rates."""
    low: float
    high: float


def learn(failed: Floats, jobs: Floats) -> Rates:
    """From runs with jobs, the oldest first.

    Jeffreys' prior; what runs differ beyond chance is Pearson's overdispersion, guarded upwards.
    Past incidents, at most a tenth of the runs, are left out.
    """
    failed, jobs = failed[-_WINDOW:], jobs[-_WINDOW:]
    rates = failed / jobs
    middle = robust.median(rates)
    recent = robust.median(rates[-_RECENT:])
    odd = rates > middle + 10 * robust.median(np.abs(rates - middle)) + 1e-9
    chance = np.sqrt(middle * (1 - middle) / jobs)
    odd &= rates > middle + 6 * chance + 0.1
    if 0 < np.count_nonzero(odd) <= len(rates) / 10:
        failed, jobs = failed[~odd], jobs[~odd]
    total = float(jobs.sum())
    rate = (float(failed.sum()) + 0.5) / (total + 1)
    n = len(jobs)
    beyond = float((jobs - 1).sum())
    pearson = float(((failed - rate * jobs) ** 2 / jobs).sum()) / (rate * (1 - rate))
    rho = max(0.0, (pearson - (n - 1)) / beyond) * (1 + 2 / np.sqrt(n)) if beyond else 0.0
    rho = min(rho, 0.9)
    m = max(1 / (rho + 1 / (total + 2)) - 1, 1e-3)
    deviation = float(np.sqrt(rate * (1 - rate) / (m + 1)))
    return Rates(rate, rate * m, (1 - rate) * m, recent, deviation, 0.0, 1.0)


def distribution(jobs: int, a: float, b: float) -> Floats:
    """Chance of 0, 1, 2 … failed ones of so many jobs: beta-binomial."""
    k = np.arange(jobs)
    steps = np.log((jobs - k) * (k + a)) - np.log((k + 1) * (jobs - k - 1 + b))
    logs = np.concatenate([[0.0], np.cumsum(steps)]) + betaln(a, jobs + b) - betaln(a, b)
    return np.exp(logs)
