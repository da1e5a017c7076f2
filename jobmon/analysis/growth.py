"""A number that grows from run to run, as memory that leaks does."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import ndtr

from jobmon.analysis import robust
from jobmon.analysis.change import NONE, Change
from jobmon.analysis.runs import Floats

_RUNS: Final = (12, 16, 20)
_LEAST_TAU: Final = 0.7
_BEFORE: Final = 20
_LEAST_BEFORE: Final = 5
_END: Final = 3
"""Runs whose median is where the growth has come to."""


def grown(y: Floats, enough: float) -> Change:
    """The clearest growth over the last 12, 16 or 20 runs of at least so much.

    Kendall's rank correlation with time (1938, its normal approximation) says whether there is
    one; Theil and Sen's slope (1968), and the median of the 20 runs before, how much.

    Args:
        y: Logarithms, those of the newest run at the end.
        enough: Likewise.
    """
    best = NONE
    for runs in _RUNS:
        if len(y) < runs + _LEAST_BEFORE:
            break
        newest = y[-runs:]
        earlier, later = np.triu_indices(runs, 1)
        rises = newest[later] - newest[earlier]
        tau = float(np.mean(np.sign(rises)))
        if tau < _LEAST_TAU:
            continue
        before = robust.median(y[-runs - _BEFORE : -runs])
        slope = robust.median(rises / (later - earlier))
        far = min(slope * (runs - 1), robust.median(newest[-_END:]) - before)
        z = tau * np.sqrt(9 * runs * (runs - 1) / (2 * (2 * runs + 5)))
        p = len(_RUNS) * float(ndtr(-float(z)))
        if far >= enough and p < best.p_value:
            best = Change(runs, before, far, p)
    return best
