"""A change too small for one run to show, that lasts."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.special import stdtr

from jobmon.analysis import robust
from jobmon.analysis.change import NONE, Change
from jobmon.analysis.runs import Floats

_RUNS: Final = (5, 8, 12)
_BEFORE: Final = 24
"""Runs compared with. Were they more, a shift would be news for longer than it takes to become
the level."""
_LEAST_BEFORE: Final = 12
_WINSOR: Final = 2.5
"""Spreads from the median at which a value is cut off, so that none decides alone."""
_INFLATED: Final = 1.05
"""What the cutting takes from the spread."""
_UNSEEN: Final = 1.25
"""Means may wander more than chance has them, where there are too few runs to see it."""
_MOST_OF_THEM: Final = 0.75
_BEYOND: Final = 0.8


def risen(y: Floats, spread: float) -> Change:
    """The clearest rise of the last 5, 8 or 12 runs above the 24 before; for a fall, negate them.

    Three of four of them must lie above the 80 % point of those before. The difference of the
    means is held against what chance does at this spread, and against what the same difference
    was all along, in the root of the mean square: where runs resemble their neighbours means
    wander, and that is no news.

    Args:
        y: Logarithms, those of the newest run at the end.
        spread: Of one run.
    """
    best = NONE
    wide = _WINSOR * spread
    for runs in _RUNS:
        newest, before = y[-runs:], y[-runs - _BEFORE : -runs]
        if len(before) < _LEAST_BEFORE:
            break
        ranked = np.sort(before)
        edge = ranked[int(_BEYOND * len(ranked))]
        if np.count_nonzero(newest > edge) < _MOST_OF_THEM * runs:
            continue
        level = _mean(before, wide)
        far = _mean(newest, wide) - level
        chance = _INFLATED * spread * math.sqrt(1 / runs + 1 / len(before))
        error = max(chance, _wandering(y[: -_RUNS[-1]], runs) or _UNSEEN * chance)
        p = len(_RUNS) * float(stdtr(float(len(before) + runs - 2), -far / error))
        if far > 0 and p < best.p_value:
            best = Change(runs, level, far, p)
    return best


def _mean(values: Floats, wide: float) -> float:
    middle = robust.median(values)
    return float(np.clip(values, middle - wide, middle + wide).mean())


def _wandering(y: Floats, runs: int) -> float:
    """What the difference between so many runs and those before usually is."""
    if len(y) < runs + _BEFORE + _LEAST_BEFORE:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    end = np.arange(runs + _BEFORE, len(y) + 1)
    newest = (sums[end] - sums[end - runs]) / runs
    before = (sums[end - runs] - sums[end - runs - _BEFORE]) / _BEFORE
    return float(np.sqrt(np.mean((newest - before) ** 2)))
