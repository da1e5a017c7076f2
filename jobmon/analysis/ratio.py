"""One judgement for all numbers whose changes are ratios: time, jobs, memory, waiting.

All is done in logarithms: there an effect is a difference, and noise is about normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtr, stdtrit

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

LEVEL: Final = 20
"""Runs whose median is the level: after half as many a shift is the new normal."""
_DRIFT: Final = 60
_KNOWN: Final = 200
_KNOWN_SHARE: Final = 0.03
_PRIOR: Final = 4
"""Runs that what is known of commands in general is worth."""
_TAILS: Final = np.array([2.95, 3.37, 3.79, 4.05, 4.55])
"""Ratio of the 96 % point to the median of Student's |t| ..."""
_DEGREES: Final = np.array([60.0, 10.0, 5.0, 4.0, 3.0])
"""... of so many degrees."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How far runs were from what the runs before them led to expect."""

    level: float
    """To be expected of the next one."""
    past: Floats
    """Without their bias."""
    up: float
    """Spread of the next one's error, upwards."""
    down: float
    degrees: float
    """Of freedom of Student's t."""
    known_up: float
    """How far up runs have come often enough to be known."""
    known_down: float

    def p_up(self, far: float) -> float:
        """Chance of one so far above its level."""
        return float(stdtr(self.degrees, -far / self.up))

    def p_down(self, far: float) -> float:
        """Chance of one so far below."""
        return float(stdtr(self.degrees, -far / self.down))

    def high(self, alpha: float) -> float:
        """How far up the next one is normal."""
        return max(-float(stdtrit(self.degrees, alpha)) * self.up, self.known_up)

    def low(self, alpha: float) -> float:
        return max(-float(stdtrit(self.degrees, alpha)) * self.down, self.known_down)


def learn(y: Floats, floor: float, usual: float) -> Errors:
    """From the logarithms of the runs before, the oldest first.

    Args:
        floor: Least spread.
        usual: Spread to be expected before anything was seen.
    """
    n = len(y)
    levels = robust.trailing_medians(y, LEVEL)
    before = np.minimum(np.arange(n + 1), LEVEL)
    if n >= LEVEL:
        first = 8
        errors = y[first:] - levels[first:-1]
        errors *= np.sqrt((1 + 1.6 / LEVEL) / (1 + 1.6 / before[first:-1]))
        drift = robust.median(errors[-_DRIFT:]) * min(1.0, len(errors) / 25)
        widen = 1.0
    else:
        errors = y - levels[-1]
        drift = 0.0
        widen = float(np.sqrt(n / (n - 1) * (1 + 1.6 / n)))
    errors = errors - drift
    spread = robust.biweight(errors)
    ranked = np.sort(errors)
    tenth = len(errors) // 10
    up = max(spread, ranked[-1 - tenth] / 1.2816)
    down = max(spread, -ranked[tenth] / 1.2816)
    share = _PRIOR / (_PRIOR + n) if n < 30 else 0.0

    def scale(found: float) -> float:
        return float(np.sqrt((1 - share) * found**2 + share * usual**2 + floor**2)) * widen

    known_up, known_down = (_known(sign * errors[-_KNOWN:], scale(spread)) for sign in (1, -1))
    return Errors(
        float(levels[-1]) + drift,
        errors,
        scale(up),
        scale(down),
        _degrees(errors, n),
        known_up,
        known_down,
    )


def _degrees(errors: Floats, n: int) -> float:
    size = np.sort(np.abs(errors))
    size = size[: len(size) - len(size) // 50]
    if size[len(size) // 2] == 0:
        return 0.85 * (n - 1) + (_PRIOR if n < 30 else 0)
    tail = size[int(0.96 * len(size))] / size[len(size) // 2] if len(size) >= 30 else 3.2
    tail = (len(size) * tail + 100 * 3.2) / (len(size) + 100)
    return min(0.85 * (n - 1) + (_PRIOR if n < 30 else 0), float(np.interp(tail, _TAILS, _DEGREES)))


def _known(errors: Floats, spread: float) -> float:
    """How far up runs came on several occasions; one after another is the same occasion."""
    many = max(2, int(np.ceil(_KNOWN_SHARE * len(errors))))
    first = np.concatenate([[0.0], errors[:-1]]) < 0.6 * errors
    occasions = np.sort(errors[first & (errors > 0)])
    if len(occasions) < many:
        return 0.0
    far = float(occasions[-many])
    return far + max(2 * spread, 0.25 * far) if far > 3 * spread else 0.0


def spreads(errors, floor):
    spread = robust.biweight(errors)
    ranked = np.sort(errors)
    tenth = len(errors) // 10
    return tuple(
        float(np.hypot(max(spread, x / 1.2816), floor))
        for x in (ranked[-1 - tenth], -ranked[tenth])
    )
