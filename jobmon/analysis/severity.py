"""How bad an anomaly is."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

from jobmon.analysis.checks import Check, Kind
from jobmon.anomaly import SEVERITIES, Severity

FALLING: Final = frozenset(
    (Kind.PERFORMANCE_IMPROVEMENT, Kind.WORKLOAD_DROP, Kind.FAILURE_RATE_DROP)
)
"""Kinds in which the number is less than usual."""
_STEPS: Final = (1.5, 2.0, 3.0)
GOOD_NEWS: Final = frozenset((Kind.PERFORMANCE_IMPROVEMENT, Kind.FAILURE_RATE_DROP))
_NO_WORK: Final = frozenset((Kind.MISSED_EXECUTION, Kind.OVERDUE_RUN))


def severity(check: Check) -> Severity:
    """By how far the ratio is beyond its threshold: from 1.5, 2 and 3 times on a step more.

    Good news is of low severity. A run that is missing, or does not end, is at least medium, for
    nothing is done meanwhile.
    """
    if check.kind in GOOD_NEWS:
        return "low"
    least, most = check.threshold, check.ratio
    if check.kind in FALLING:
        least, most = most, least
    step = bisect_right(_STEPS, most / least if least > 0 else math.inf)
    return SEVERITIES[max(step, 1) if check.kind in _NO_WORK else step]
