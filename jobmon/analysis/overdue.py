"""Does a run that has not ended take too long?"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.special import stdtr

from jobmon.analysis.checks import Baseline, Check, Kind
from jobmon.analysis.runs import Floats, Runs

_ENOUGH_RUNS: Final = 5
_MOST_RUNS: Final = 100
_LEAST_SECONDS: Final = 10.0
"""What is over so soon is worth nobody's attention."""
_BEYOND_LONGEST: Final = 1.6
_FAR_BEYOND_LONGEST: Final = 2.2
_BEYOND_USUAL: Final = 2.0
_P: Final = 1e-3
_USUAL_SD: Final = 0.12
"""Commands repeat within about 12 %: what is believed before a few runs show their own spread."""
_BELIEF_RUNS: Final = 4
_LEAST_SD: Final = 0.03


def overdue(
    history: Runs, started_at: float, now: float, maximum_seconds: float | None = None
) -> Check | None:
    """Judge a run by how long it runs, whatever it has done so far.

    With a declared maximum, that alone decides. Otherwise the run is overdue once it took 1.6
    times the longest of the last hundred and twice the usual, and chance does not explain it
    (t prediction interval of the logarithm), or 2.2 times the longest.

    Args:
        history: Finished runs before it.
        started_at: Its start, in Unix seconds.
        now: Likewise.
        maximum_seconds: Setting `maximum_run_time_seconds`.

    Returns:
        None where nothing was declared and fewer than five runs ended.
    """
    known = np.isfinite(history.duration_seconds) & (history.duration_seconds > 0)
    durations = history.duration_seconds[known][-_MOST_RUNS:]
    starts = history.started_at[known][-_MOST_RUNS:]
    if maximum_seconds is None and len(durations) < _ENOUGH_RUNS:
        return None
    elapsed = max(0.0, now - started_at)
    usual = float(np.median(durations)) if len(durations) else float(maximum_seconds or 0)
    sd, p_value = _chance(durations, elapsed)
    if maximum_seconds is not None:
        high, is_overdue = maximum_seconds, elapsed > maximum_seconds
        p_value, test = 0.0 if is_overdue else 1.0, "declared maximum"
    else:
        longest = float(np.sort(durations)[len(durations) - 1 - len(durations) // 50])
        high = max(_BEYOND_LONGEST * longest, _BEYOND_USUAL * usual, _LEAST_SECONDS)
        is_rare = p_value < _P or elapsed > _FAR_BEYOND_LONGEST * longest
        is_overdue, test = elapsed > high and is_rare, "t prediction interval"
    baseline = Baseline(
        centre=usual,
        low=0.0,
        high=high,
        spread=sd,
        n=len(durations),
        first_at=float(starts[0]) if len(starts) else started_at,
        last_at=float(starts[-1]) if len(starts) else started_at,
    )
    return Check(
        Kind.OVERDUE_RUN,
        "duration",
        elapsed,
        baseline,
        ratio=min(elapsed / usual, 999.99),
        p_value=p_value,
        test=test,
        threshold=high / usual,
        is_anomaly=is_overdue,
    )


def _chance(durations: Floats, elapsed: float) -> tuple[float, float]:
    """Spread of the logarithms, and how likely a run takes so long."""
    n = len(durations)
    if n < 2 or elapsed <= 0:
        return 0.0, 1.0
    logs = np.log(durations)
    middle = float(np.median(logs))
    own = 1.4826 * float(np.median(np.abs(logs - middle)))
    belief = _BELIEF_RUNS / (_BELIEF_RUNS + n)
    sd = math.hypot(math.sqrt((1 - belief) * own**2 + belief * _USUAL_SD**2), _LEAST_SD)
    t = (math.log(elapsed) - middle) / (sd * math.sqrt(1 + 1.6 / n))
    return sd, float(stdtr(max(1.0, 0.85 * (n - 1)), -t))
