"""What the number of jobs explains of a run's time or memory."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

_AROUND: Final = 21
"""Runs whose median is the level that is taken away first: a shift must not become a slope."""
_PASSES: Final = 3
_HUBER: Final = 1.5
_CURVED_FROM: Final = 30
"""Runs; and the spread of their logarithmic sizes."""
_CURVED_SPREAD: Final = 0.25
_UNSURE: Final = 0.4
"""Standard deviation of the elasticity before anything was seen."""
_STEEPEST: Final = 1.05
"""Time in proportion to the work, and a little more: what twice the work may take."""


class Size(NamedTuple):
    """In logarithms."""

    explained: Floats
    """Of each run before."""
    least: float
    """Of the run judged: an interval where it is larger or smaller than all before."""
    most: float


def explain(y: Floats, x: Floats, latest: float, usual: float) -> Size:
    """Fit a number's logarithm on the logarithm of the job count.

    A straight line, or a parabola where sizes vary much: Huber's M-estimate by iteratively
    reweighted least squares (Huber, 1964), drawn to `usual` as far as the sizes vary too little to
    tell. Beyond the sizes seen the elasticity is only known to be between none and proportion.

    Args:
        latest: Logarithmic size of the run judged.
        usual: Elasticity to be expected before anything was seen.
    """
    low, high = float(x.min()), float(x.max())
    if low == high == latest:
        return Size(np.zeros_like(y), 0.0, 0.0)
    middle = robust.median(x)
    centred = x - middle
    spread = robust.median(np.abs(centred)) * 1.4826
    columns = [np.ones_like(x), centred]
    if len(x) >= _CURVED_FROM and spread > _CURVED_SPREAD:
        columns.append(centred * centred)
    design = np.stack(columns, axis=1)
    drawn = np.zeros(len(columns))
    drawn[1] = usual
    factors = drawn
    error = 0.0
    for _ in range(_PASSES):
        rest = y - design @ factors
        level = robust.centred_medians(rest, _AROUND)
        rest -= level
        scale = max(robust.biweight(rest), 0.01)
        weight = np.minimum(1, _HUBER * scale / np.maximum(np.abs(rest), 1e-12))
        weighted = design.T * weight
        prior = np.zeros(len(columns))
        prior[1] = (scale / _UNSURE) ** 2
        normal = weighted @ design + np.diag(prior + 1e-9)
        factors = np.linalg.solve(normal, weighted @ (y - level) + prior * drawn)
        error = scale / np.sqrt(normal[1, 1] - normal[0, 1] ** 2 / normal[0, 0])
    factors[0] = 0
    inside = min(max(latest, low), high)
    at = np.array([0, inside - middle, (inside - middle) ** 2])[: len(columns)] @ factors
    beyond = latest - inside
    unsure = max(0.25, 3 * error)
    slopes = np.clip([factors[1] - unsure, factors[1] + unsure], 0, _STEEPEST)
    edges = sorted(float(at + beyond * slope) for slope in slopes)
    return Size(design @ factors, edges[0], edges[1])
