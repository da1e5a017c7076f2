"""What a judgement says: one check for each question that was asked of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

MOST_RATIO: Final = 999.99
"""Of an effect; also where the centre is 0."""
_USUAL: Final = 2.0
"""Standard deviations to either side."""


class Kind(StrEnum):
    """Kinds of anomaly. The first six and the missed execution are documented since ever."""

    PERFORMANCE_DEGRADATION = "performance_degradation"
    PERFORMANCE_IMPROVEMENT = "performance_improvement"
    WORKLOAD_SPIKE = "workload_spike"
    WORKLOAD_DROP = "workload_drop"
    FAILURE_RATE_SPIKE = "failure_rate_spike"
    FAILURE_RATE_DROP = "failure_rate_drop"
    MISSED_EXECUTION = "missed_execution"
    MEMORY_GROWTH = "memory_growth"
    QUEUE_TIME_GROWTH = "queue_time_growth"
    OVERDUE_RUN = "overdue_run"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was usual before. In the unit of the metric."""

    centre: float
    """What was to be expected of this run: at its size, its hour, its level."""
    low: float
    """Least of what is normal."""
    high: float
    """Most of what is normal."""
    spread: float
    """Robust standard deviation of the metric's logarithm; of a rate, of the rate."""
    n: int
    """Runs that it rests on."""
    first_at: float
    """Start of the first of them, in Unix seconds."""
    last_at: float
    """Start of the last of them."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question asked of a run, and the answer."""

    kind: Kind
    metric: str
    """Name of the number, as the API has it: `avg_job_time`, `job_count`, `failure_rate`, …"""
    current: float
    baseline: Baseline
    ratio: float
    """Effect size: current by centre, at most 999.99."""
    p_value: float
    """Of the test: from 0 to 1; also where nothing is reported."""
    test: str
    """Its name."""
    threshold: float
    """Least ratio (of what falls, highest) that counts."""
    is_anomaly: bool
    """The effect counts, and chance alone does not explain it."""

    @property
    def usual(self) -> tuple[float, float]:
        """Where 19 of 20 runs are. What is normal is more: small effects do not count."""
        base = self.baseline
        if self.metric == "failure_rate" or not (base.centre > 0 and math.isfinite(base.spread)):
            return base.low, base.high
        factor = math.exp(_USUAL * base.spread)
        return max(base.low, base.centre / factor), min(base.high, base.centre * factor)

    runs: int = 1
    """Newest runs that differ: 1, or of a change that lasts so many. `current` is then their mean,
    at the size and hour of the run judged, and the centre is that of the runs before them."""
    due: datetime | None = None
    """Of a start that is awaited by a schedule, declared or inferred: when, in that one's zone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is to be said of one run."""

    checks: tuple[Check, ...]
    """In the order of their kinds, anomalies or not."""
    is_enough: bool
    """False: too few runs came before it, nothing was asked."""

    @property
    def anomalies(self) -> tuple[Check, ...]:
        """Those that are."""
        return tuple(check for check in self.checks if check.is_anomaly)
