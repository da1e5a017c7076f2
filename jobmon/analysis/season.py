"""What the hour of the day or the day of the week explains of a number."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobmon.analysis import robust
from jobmon.analysis.runs import Floats

_HOUR, _DAY, _WEEK = 3600.0, 86_400.0, 604_800.0
_DAYS: Final = 3.0
_A_DAY: Final = 1.8
"""Hours of the day count from so many days on, for what runs so often a day."""
_WEEKS: Final = 3.0
_BETTER: Final = 0.8
"""The season is kept where the error without it falls to this."""
_SHRINK: Final = 0.5

Bins = NDArray[np.int64]


class Season(NamedTuple):
    """In logarithms."""

    explained: Floats
    """Of each run before."""
    latest: float
    """Of the run judged."""


def explain(y: Floats, starts: Floats, latest: float, zone: tzinfo) -> Season:
    """Medians of the hours of the day or of the days of the week, if they tell.

    Whole periods are taken away first, as in classical decomposition. Whether a season helps is
    tried by leaving each run out in turn; where it does not, nothing is explained.

    Args:
        starts: Ascending, in Unix seconds.
        latest: Start of the run judged.
        zone: Whose hours and days are meant.
    """
    n = len(y)
    span = float(starts[-1] - starts[0])
    best = Season(np.zeros(n), 0.0)
    candidates: list[tuple[float, float]] = []
    if span >= _DAYS * _DAY and n >= _A_DAY * span / _DAY:
        candidates.append((_DAY, _HOUR))
    if span >= _WEEKS * _WEEK and n >= 3 * span / _WEEK:
        candidates.append((_WEEK, _DAY))
    if not candidates:
        return best
    local = np.append(starts, latest) + _offsets(starts, latest, zone)
    wide = 3 * max(robust.biweight(y), 1e-9)
    middle = robust.median(y)
    steady = np.clip(y, middle - wide, middle + wide)
    least = np.inf
    for period, bin_seconds in candidates:
        # The first of January 1970 was a Thursday: weeks begin on Mondays.
        bins = ((local + 3 * _DAY) % period // bin_seconds).astype(np.int64)
        far = y - _period_means(steady, round(n * period / span))
        season, others = _medians(far, bins, round(period / bin_seconds))
        left = float(np.abs(far - others).mean())
        without = float(np.abs(far - robust.median(far)).mean())
        if left < _BETTER * without and left < least:
            least = left
            best = Season(others, float(season[bins[-1]]))
    return best


def _period_means(y: Floats, runs: int) -> Floats:
    """Mean over a whole period of runs around each; at the ends over the first or last one."""
    runs = min(runs, len(y))
    sums = np.concatenate([[0.0], np.cumsum(y)])
    begin = np.clip(np.arange(len(y)) - runs // 2, 0, len(y) - runs)
    return (sums[begin + runs] - sums[begin]) / runs


def _medians(far: Floats, bins: Bins, many: int) -> tuple[Floats, Floats]:
    """Of each bin, drawn to 0 where it has few runs; and of the others in each run's bin."""
    bins = bins[:-1]
    order = np.lexsort((far, bins))
    ranked, bins = far[order], bins[order]
    count = np.bincount(bins, minlength=many)
    first = np.cumsum(count) - count
    last = len(far) - 1
    lower = ranked[np.minimum(first + np.maximum(count - 1, 0) // 2, last)]
    upper = ranked[np.minimum(first + count // 2, last)]
    season = np.where(count > 0, (lower + upper) / 2 * count / (count + _SHRINK), 0.0)

    rest = count[bins] - 1
    rank = np.arange(len(far)) - first[bins]
    lower_rank, upper_rank = np.maximum(rest - 1, 0) // 2, rest // 2
    begin = first[bins]
    lower = ranked[np.minimum(begin + lower_rank + (rank <= lower_rank), last)]
    upper = ranked[np.minimum(begin + upper_rank + (rank <= upper_rank), last)]
    others = np.where(rest > 0, (lower + upper) / 2 * rest / (rest + _SHRINK), 0.0)
    left_out = np.empty_like(others)
    left_out[order] = others
    return season, left_out


def _offsets(starts: Floats, latest: float, zone: tzinfo) -> Floats:
    """Seconds to add to Unix time for the clock on the wall."""
    if zone is UTC:
        return np.zeros(len(starts) + 1)
    hours = (np.append(starts, latest) // _HOUR).astype(np.int64)
    return np.array([_offset(int(hour), zone) for hour in hours])


@lru_cache(maxsize=10_000)
def _offset(hour: int, zone: tzinfo) -> float:
    offset = datetime.fromtimestamp(hour * _HOUR, zone).utcoffset()
    return offset.total_seconds() if offset else 0.0
