"""Of many questions asked at once, which answers are news."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from jobmon.analysis.checks import Check, Kind

_CERTAIN: Final = frozenset((Kind.MISSED_EXECUTION, Kind.OVERDUE_RUN))
"""Found by the clock, not by a test."""
_Q: Final = 0.02
"""Share of what is reported that may be chance."""


def limit(p_values: Iterable[float], q: float = _Q) -> float:
    """Up to which p-value what is found among all tests of one evaluation is news.

    Benjamini & Hochberg, 1995: on average at most a share `q` of what is reported is chance.
    """
    ordered = sorted(p_values)
    found = 0.0
    for rank, p_value in enumerate(ordered, 1):
        if p_value <= q * rank / len(ordered):
            found = p_value
    return found


def control(checks: Sequence[Sequence[Check]], q: float = _Q) -> list[tuple[Check, ...]]:
    """Leave as anomalies what is news by `limit`.

    Args:
        checks: Of each command, anomalies or not.
        q: As of `limit`.
    """
    tests = [check for one in checks for check in one if check.kind not in _CERTAIN]
    highest = limit((check.p_value for check in tests), q)
    return [
        tuple(
            check
            if not check.is_anomaly or check.kind in _CERTAIN or check.p_value <= highest
            else replace(check, is_anomaly=False)
            for check in one
        )
        for one in checks
    ]
