"""Changes too small for one run to show, that last."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import stdtr

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

_LAST: Final = (5, 8, 12)
_BEFORE: Final = 24
"""Runs compared with. Were they more, a shift would be news for longer than it is the level."""
_LEAST_BEFORE: Final = 12
_WINSOR: Final = 2.5
_BEYOND: Final = (0.75, 0.8)
"""So many of the last runs lie beyond so many of those before."""


class Change(NamedTuple):
    """The clearest one."""

    far: float
    """Difference of the means, in logarithms."""
    p_value: float
    runs: int
    """That it lasts, the latest included."""


NONE: Final = Change(0.0, 1.0, 0)


def change(y: Floats, spread: float, sign: int) -> Change:
    """The mean of the last few runs against that of the runs before them.

    Args:
        y: Logarithms, the judged run's at the end.
        spread: Of one run.
        sign: 1 looks for a rise, -1 for a fall.
    """
    inflated = 1.05 * spread
    best = NONE
    for last in _LAST:
        before = y[-last - _BEFORE : -last]
        if len(before) < _LEAST_BEFORE:
            break
        ranked = np.sort(before)
        middle = ranked[len(ranked) // 2]
        edge = ranked[int(_BEYOND[1] * len(ranked))] if sign > 0 else ranked[int((1-_BEYOND[1]) * len(ranked))]
        newest = y[-last:]
        if np.count_nonzero(sign * (newest - edge) > 0) < _BEYOND[0] * last:
            continue
        bound = _WINSOR * spread
        usual = np.clip(before, middle - bound, middle + bound).mean()
        now = robust.median(newest)
        far = sign * float(np.clip(newest, now - bound, now + bound).mean() - usual)
        error = max(inflated * np.sqrt(1 / last + 1 / len(before)), _seen(y[:-12], spread, last, sign))
        p = min(1.0, len(_LAST) * float(stdtr(len(before) + last - 2, -far / error)))
        if far > 0 and p < best.p_value:
            best = Change(far, p, last)
    return best


def _seen(y: Floats, spread: float, last: int, sign: int) -> float:
    """Spread of what the same difference was before."""
    if len(y) < last + _BEFORE + 12:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(y)])
    end = np.arange(last + _BEFORE, len(y) + 1)
    means = (sums[end] - sums[end - last]) / last
    usual = (sums[end - last] - sums[end - last - _BEFORE]) / _BEFORE
    return float(np.sqrt(np.mean((means - usual) ** 2)))
