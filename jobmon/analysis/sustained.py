"""A change too small for one run to show, that lasts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import stdtr

from jobmon.analysis import robust
from jobmon.analysis.change import NONE, Change
from jobmon.analysis.runs import Floats

_RUNS: Final = (3, 5, 8, 12)
_BEFORE: Final = 24
"""Runs compared with. Were they more, a shift would be news for longer than it takes to become
the level."""
_LEAST_BEFORE: Final = 12
_WINSOR: Final = 2.5
"""Spreads from the median at which a value is cut off, so that none decides alone."""
_MOST_ALIKE: Final = 0.9
_MOST_OF_THEM: Final = 0.75
_BEYOND: Final = 0.8


def risen(y: Floats, steady: Callable[[int], float]) -> Change:
    """The clearest rise of the last 3, 5, 8 or 12 runs above the 24 before.

    Three of four of them must lie above the 80 % point of those before. The difference of the
    means is held against what chance does at this spread, and against what the same difference
    was all along, in the root of the mean square: where runs resemble their neighbours means
    wander, and that is no news. How much they do is told by few runs too, by the correlation of
    each with the next. All is learned from the runs before those that may be the change.

    Three are the fewest that tell a change from what happened once: their mean is surer by the
    square root of three than each, which may lie a little short of what one run needs.

    Args:
        y: Logarithms, those of the newest run at the end; for a fall, negate them.
        steady: Spread of one run, learned without so many of the newest.
    """
    best = NONE
    for runs in _RUNS:
        newest, before = y[-runs:], y[-runs - _BEFORE : -runs]
        if len(before) < _LEAST_BEFORE:
            break
        ranked = np.sort(before)
        edge = ranked[int(_BEYOND * len(ranked))]
        if np.count_nonzero(newest > edge) < _MOST_OF_THEM * runs:
            continue
        spread = steady(runs)
        wide = _WINSOR * spread
        level = _mean(before, wide)
        far = _mean(newest, wide) - level
        past = y[:-runs]
        chance = _alike(past, wide) * spread * math.sqrt(1 / runs + 1 / len(before))
        error = max(chance, _wandering(past, runs))
        p = len(_RUNS) * float(stdtr(float(len(before) + runs - 2), -far / error))
        if far > 0 and p < best.p_value:
            best = Change(runs, level, far, p)
    return best


def _mean(values: Floats, wide: float) -> float:
    middle = robust.median(values)
    return float(np.clip(values, middle - wide, middle + wide).mean())


def _alike(y: Floats, wide: float) -> float:
    """By how much more means of runs that resemble their neighbours vary: of a first-order
    autoregression, the square root of (1 + r) / (1 - r), r the correlation with the next run."""
    middle = robust.median(y)
    far = np.clip(y - middle, -wide, wide)
    square = float(np.dot(far, far))
    alike = float(np.dot(far[1:], far[:-1])) / square if square else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    return math.sqrt((1 + alike) / (1 - alike))


def _wandering(y: Floats, runs: int) -> float:
    """What the difference between so many runs and those before usually is."""
    if len(y) < runs + _BEFORE + _LEAST_BEFORE:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    end = np.arange(runs + _BEFORE, len(y) + 1)
    newest = (sums[end] - sums[end - runs]) / runs
    before = (sums[end - runs] - sums[end - runs - _BEFORE]) / _BEFORE
    return float(np.sqrt(np.mean((newest - before) ** 2)))
