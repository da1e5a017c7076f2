"""Medians and spreads that a few odd values do not move."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter

from jobmon.analysis.runs import Floats


def median(values: Floats) -> float:
    """Of at least one value. Several times faster than numpy's at some hundred values."""
    ranked = np.sort(values)
    middle = len(ranked) // 2
    if len(ranked) % 2:
        return float(ranked[middle])
    return float(ranked[middle - 1] + ranked[middle]) / 2


def biweight(values: Floats) -> float:
    """Standard deviation by the biweight midvariance: 0 where most values are the same.

    Mosteller & Tukey, Data Analysis and Regression, 1977. It is nearly as sure as the plain
    deviation where nothing is odd, and holds while fewer than half of the values are.
    """
    far = values - median(values)
    unit = 9 * median(np.abs(far))
    if unit == 0:
        return 0.0
    square = far * far
    rest = 1 - square / (unit * unit)
    near = rest > 0
    rest, square = rest[near], square[near]
    weight = rest * rest
    slope = float(np.dot(rest, 5 * rest - 4))
    return float(np.sqrt(len(values) * np.dot(square, weight * weight))) / abs(slope)


def trailing_medians(values: Floats, window: int) -> Floats:
    """Median of up to so many values before each one, and before the next to come.

    One more than the values; the first, with nothing before it, is NaN.
    """
    padded = np.concatenate([np.full(window, np.inf), values])
    ranked = np.sort(sliding_window_view(padded, window), axis=1)
    before = np.minimum(np.arange(len(values) + 1), window)
    row = np.arange(len(before))
    lower = ranked[row, np.maximum(before - 1, 0) // 2]
    upper = ranked[row, before // 2]
    medians = (lower + upper) / 2
    medians[0] = np.nan
    return medians


def centred_medians(values: Floats, window: int) -> Floats:
    """Median of so many values around each one; at the ends the values are mirrored."""
    return median_filter(values, min(window, 2 * len(values) - 1), mode="reflect")
