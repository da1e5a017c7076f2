"""Of many questions asked at once, which answers are news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from jobmon.analysis.checks import Check, Kind

_CERTAIN: Final = frozenset((Kind.MISSED_EXECUTION, Kind.OVERDUE_RUN))
"""Found by the clock, not by a test."""


def control(checks: Sequence[Sequence[Check]], q: float = 0.02) -> list[tuple[Check, ...]]:
    """Leave as anomalies what holds among all tests of one evaluation.

    Benjamini & Hochberg, 1995: on average at most a share `q` of what is reported is chance.

    Args:
        checks: Of each command, anomalies or not.
    """
    p_values = sorted(
        check.p_value for one in checks for check in one if check.kind not in _CERTAIN
    )
    limit = 0.0
    for rank, p_value in enumerate(p_values, 1):
        if p_value <= q * rank / len(p_values):
            limit = p_value
    return [
        tuple(
            check
            if not check.is_anomaly or check.kind in _CERTAIN or check.p_value <= limit
            else replace(check, is_anomaly=False)
            for check in one
        )
        for one in checks
    ]
