"""How far runs are from what the runs before them led to expect."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

LEVEL: Final = 20
"""Runs whose median is the level: after half as many a shift is the new normal."""
_MEDIAN: Final = 1.6
"""A median of n values errs by the square root of 1.6 / n of what one value does."""
_FIRST: Final = 8
"""Runs before one that lead to expect anything of it."""
_DRIFT: Final = 60
"""Errors whose median tells of a trend, which the level lags behind."""
_ENOUGH_DRIFT: Final = 25
_ENOUGH_STEADY: Final = 12
"""Errors that tell the spread without what is usual of commands."""

_BELIEF_RUNS: Final = 4
"""So many runs is the usual spread of commands worth, ..."""
_FEW_RUNS: Final = 30
"""... until there are so many."""

_TAIL_POINTS: Final = (2.95, 3.37, 3.79, 4.05, 4.55)
"""How many times its median is the 96 % point of Student's |t|, nothing odd included, ..."""
_TAIL_DEGREES: Final = (60.0, 10.0, 5.0, 4.0, 3.0)
"""... of so many degrees of freedom."""
_USUAL_TAIL: Final = 3.2
"""Of commands in general, a little heavier than normal ..."""
_USUAL_TAIL_RUNS: Final = 100
"""... which is worth so many runs: a far point of few runs tells little."""

_KNOWN_RUNS: Final = 200
_KNOWN_SHARE: Final = 0.03
_KNOWN_TIMES: Final = 2
_FARTHEST: Final = 30.0
"""No bound is farther from the level, in logarithms."""


class Side(NamedTuple):
    """Upwards or downwards, in logarithms."""

    spread: float
    """Of the next error."""
    known: float
    """How far runs come often enough that another one is no news."""


class Errors(NamedTuple):
    """In logarithms."""

    level: float
    """To be expected of the next run."""
    degrees: float
    """Of freedom of Student's t."""
    up: Side
    down: Side
    alone: Floats
    """Of each run, as far as its own: without what its level erred by. None of few runs."""
    floor: float
    """Least spread."""

    def steady(self, newest: int) -> float:
        """Spread of one run around its level, the same to both sides as that of means is.

        Args:
            newest: Runs left out, the one judged among them: what may be a change must not widen
                what it is held against.
        """
        before = self.alone[: len(self.alone) + 1 - newest]
        if len(before) < _ENOUGH_STEADY:
            return max(self.up.spread, self.down.spread)
        return float(np.hypot(robust.biweight(before), self.floor))

    def p_value(self, far: float, side: Side) -> float:
        """Chance of a run so far to that side of its level: of a prediction, Student's t."""
        return float(stdtr(self.degrees, -far / side.spread))

    def reach(self, alpha: float, side: Side) -> float:
        """How far to that side a run is normal."""
        return min(_FARTHEST, max(side.known, -float(stdtrit(self.degrees, alpha)) * side.spread))


def learn(y: Floats, floor: float, usual: float) -> Errors:
    """From at least two runs, the oldest first.

    Each run is predicted by the median of those before it, as the next one is going to be: so the
    errors know of trends, of runs that resemble their neighbours, and of levels that move.

    Args:
        y: Logarithms.
        floor: Least spread.
        usual: Spread to be expected before anything was seen.
    """
    n = len(y)
    levels = robust.trailing_medians(y, LEVEL)
    level = float(levels[-1])
    if n >= LEVEL:
        before = np.minimum(np.arange(_FIRST, n), LEVEL)
        inflated = np.sqrt((1 + _MEDIAN / before) / (1 + _MEDIAN / LEVEL))
        past = (y[_FIRST:] - levels[_FIRST:-1]) / inflated
        drift = robust.median(past[-_DRIFT:]) * min(1.0, len(past) / _ENOUGH_DRIFT)
        past = past - drift
        level += drift
        alone = past / np.sqrt(1 + _MEDIAN / LEVEL)
        widened = 1.0
    else:
        past = y - level
        alone = past[:0]
        widened = float(np.sqrt(n / (n - 1) * (1 + _MEDIAN / n)))
    belief = _BELIEF_RUNS / (_BELIEF_RUNS + n) if n < _FEW_RUNS else 0.0

    def scale(found: float) -> float:
        square = (1 - belief) * found * found + belief * usual * usual + floor * floor
        return float(np.sqrt(square)) * widened

    spreads = [scale(found) for found in _spreads(past)]
    recent, apart = past[-_KNOWN_RUNS:], 3 * min(spreads)
    known = [_known(recent, apart), _known(-recent, apart)]
    up, down = (Side(*values) for values in zip(spreads, known, strict=True))
    return Errors(level, _degrees(past, n), up, down, alone, floor)


def _spreads(errors: Floats) -> tuple[float, float]:
    """Upwards and downwards: the biweight, or what the outermost tenth tells if it is more."""
    spread = robust.biweight(errors)
    ranked = np.sort(errors)
    tenth = len(errors) // 10
    return (
        max(spread, float(ranked[-1 - tenth]) / 1.2816),
        max(spread, -float(ranked[tenth]) / 1.2816),
    )


def _degrees(errors: Floats, n: int) -> float:
    """What the spread is sure of, and how heavy the tails are."""
    sure = 0.85 * (n - 1) + (_BELIEF_RUNS if n < _FEW_RUNS else 0)
    ranked = np.sort(np.abs(errors))
    ranked = ranked[: len(ranked) - len(ranked) // 50]
    many = len(ranked)
    tail = _USUAL_TAIL
    if many >= _FEW_RUNS and ranked[many // 2] > 0:
        found = float(ranked[int(0.96 * many)] / ranked[many // 2])
        tail = (many * found + _USUAL_TAIL_RUNS * tail) / (many + _USUAL_TAIL_RUNS)
    return min(sure, float(np.interp(tail, _TAIL_POINTS, _TAIL_DEGREES)))


def _known(errors: Floats, apart: float) -> float:
    """How far up runs came on several occasions; what follows at once is the same occasion."""
    times = max(_KNOWN_TIMES, int(np.ceil(_KNOWN_SHARE * len(errors))))
    before = np.concatenate([[0.0], errors[:-1]])
    occasions = np.sort(errors[(errors > 0) & (before < 0.6 * errors)])
    if len(occasions) < times or occasions[-times] <= apart:
        return 0.0
    far = float(occasions[-times])
    return far + max(2 / 3 * apart, 0.25 * far)
