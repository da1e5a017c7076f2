"""A number that grows from run to run: a leak."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtr

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

_LAST: Final = (12, 16, 20)
_LEAST_TAU: Final = 0.7


class Growth(NamedTuple):
    far: float
    """In logarithms, over all these runs."""
    p_value: float
    runs: int


def growth(y: Floats, enough: float) -> Growth:
    """Kendall's rank correlation of the last runs with time, and Theil and Sen's slope.

    Kendall, 1938; Sen, 1968. The clearest that is at least `enough`, in logarithms.
    """
    best = Growth(0.0, 1.0, 0)
    for last in _LAST:
        if len(y) < last + 5:
            break
        newest = y[-last:]
        i, j = np.triu_indices(last, 1)
        rise = newest[j] - newest[i]
        tau = float(np.sign(rise).mean())
        if tau < _LEAST_TAU:
            continue
        far = robust.median(rise / (j - i)) * (last - 1)
        before = robust.median(y[: -last][-20:])
        far = min(far, robust.median(newest[-3:]) - before)
        if far < enough:
            continue
        p = len(_LAST) * float(ndtr(-tau * np.sqrt(9 * last * (last - 1) / (2 * (2 * last + 5)))))
        if p < best.p_value:
            best = Growth(far, p, last)
    return best
