"""Two ways in which a command runs, by turns: with a cold cache and with a warm one."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jobmon.analysis.runs import Floats

_RUNS: Final = 20
_IN_ONE: Final = 5
_WITHIN: Final = 0.3
"""Share of the variance that is left within the two."""
_GAP: Final = 0.4
_GAP_WIDTHS: Final = 4.0
_ALIKE: Final = 3.5
"""One may be so many times as wide as the other."""
_TURNS: Final = 5
"""Changes from one to the other: a level that shifted has changed once."""


class Modes(NamedTuple):
    """In logarithms."""

    explained: Floats
    """Of each run: 0 in the lower mode."""
    gap: float
    """Between the two; 0 where there is one."""


def explain(y: Floats) -> Modes:
    """Split into two modes where there are two: by Otsu's threshold, 1979."""
    n = len(y)
    one = Modes(np.zeros(n), 0.0)
    if n < _RUNS:
        return one
    ranked = np.sort(y)
    below = np.arange(1, n)
    sums, squares = np.cumsum(ranked), np.cumsum(ranked * ranked)
    lower = sums[:-1] / below
    upper = (sums[-1] - sums[:-1]) / (n - below)
    between = below * (n - below) * (upper - lower) ** 2
    split = int(np.argmax(between))
    many = split + 1
    if min(many, n - many) < _IN_ONE:
        return one
    total = squares[-1] - sums[-1] ** 2 / n
    within = total - between[split] / n
    gap = float(upper[split] - lower[split])
    widths = sorted((float(np.std(ranked[:many])), float(np.std(ranked[many:]))))
    if within >= _WITHIN * total or gap < max(_GAP, _GAP_WIDTHS * widths[1]):
        return one
    if widths[1] > max(_ALIKE * widths[0], 0.1):
        return one
    is_upper = y > ranked[split]
    if np.count_nonzero(is_upper[1:] != is_upper[:-1]) < _TURNS:
        return one
    return Modes(np.where(is_upper, gap, 0.0), gap)
