"""Of many questions asked at once, which answers are news."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_Q: Final = 0.02
"""Share of what is reported that may be chance."""


def limit(p_values: Iterable[float]) -> float:
    """Up to which p-value what is found among all tests of one evaluation is news.

    Benjamini & Hochberg, 1995: on average at most so small a share of what is reported is chance.
    """
    ordered = sorted(p_values)
    found = 0.0
    for rank, p_value in enumerate(ordered, 1):
        if p_value <= _Q * rank / len(ordered):
            found = p_value
    return found
