"""Is this run normal? A pure function of the runs before it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jobmon.analysis import failures, ratio
from jobmon.analysis.checks import Check, Kind, Verdict
from jobmon.analysis.ratio import Metric, Question
from jobmon.analysis.runs import ENOUGH_RUNS, Floats, Run, Runs
from jobmon.analysis.thresholds import Thresholds

MOST_RUNS: Final = 300

_TIME: Final = Metric(
    "avg_job_time",
    up=Kind.PERFORMANCE_DEGRADATION,
    down=Kind.PERFORMANCE_IMPROVEMENT,
    alpha=5e-4,
    lasting_alpha=1e-4,
    floor=0.03,
    usual=0.12,
    elasticity=0.7,
)
_TOTAL_TIME: Final = replace(_TIME, name="total_time", elasticity=None)
_JOBS: Final = Metric(
    "job_count",
    up=Kind.WORKLOAD_SPIKE,
    down=Kind.WORKLOAD_DROP,
    alpha=2e-4,
    lasting_alpha=1e-5,
    floor=0.06,
    usual=0.2,
    is_count=True,
)
_MEMORY: Final = Metric(
    "peak_memory",
    up=Kind.MEMORY_GROWTH,
    down=None,
    alpha=3e-4,
    lasting_alpha=1e-5,
    floor=0.03,
    usual=0.12,
    elasticity=0.1,
    may_leak=True,
)
_MEMORY_WITHOUT_JOBS: Final = replace(_MEMORY, elasticity=None)
_QUEUE: Final = Metric(
    "queue_time",
    up=Kind.QUEUE_TIME_GROWTH,
    down=None,
    alpha=2e-4,
    lasting_alpha=2e-4,
    floor=0.15,
    usual=0.4,
    offset=0.1,
    least_change=0.5,
)


def judge(history: Runs, latest: Run, thresholds: Thresholds, zone: tzinfo = UTC) -> Verdict:
    """Ask of a finished run all that can be asked of one.

    A number is not judged where the run, or too many of those before, do not know it. Time and
    memory are compared with runs that had jobs if this one had some, and with those that had none
    if it had none.

    Args:
        history: The runs before it; the newest 300 count.
        zone: The command's: its hours and weekdays.
    """
    history = history.last(MOST_RUNS)
    if len(history) < ENOUGH_RUNS:
        return Verdict((), is_enough=False)
    checks = [
        *_performance(history, latest, thresholds, zone),
        *_workload(history, latest, thresholds, zone),
        *_failure_rate(history, latest, thresholds),
        *_memory(history, latest, thresholds, zone),
        *_queue_time(history, latest, thresholds, zone),
    ]
    return Verdict(tuple(checks), is_enough=True)


def _performance(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    if not _is_known(latest.work_seconds, 0):
        return []
    has_jobs = latest.job_count > 0
    keep = _known(history.work_seconds, 0) & ((history.job_count > 0) == has_jobs)
    history = history.where(keep)
    question = Question(
        _TIME if has_jobs else _TOTAL_TIME,
        history,
        history.work_seconds,
        latest,
        latest.work_seconds,
        t.slower,
        t.faster,
        per=latest.job_count if has_jobs else 1.0,
    )
    return ratio.judge(question, zone)


def _workload(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    if not latest.job_count >= 0:
        return []
    usual = history.where(_known(history.job_count, 0))
    # No jobs is less than one, and how much less is a convention.
    jobs = max(latest.job_count, 0.5)
    question = Question(_JOBS, usual, usual.job_count, latest, jobs, t.more_jobs, t.fewer_jobs)
    checks = ratio.judge(question, zone)
    if latest.job_count > 0:
        return checks
    idle = np.count_nonzero(history.job_count == 0) / len(history)
    return [
        replace(
            check,
            current=0.0,
            ratio=0.0,
            p_value=max(check.p_value, idle),
            is_anomaly=check.is_anomaly and check.runs == 1 and idle == 0,
        )
        for check in checks
    ]


def _failure_rate(history: Runs, latest: Run, t: Thresholds) -> list[Check]:
    if not latest.job_count > 0 or not latest.failed_jobs >= 0:
        return []
    history = history.where((history.job_count > 0) & (history.failed_jobs >= 0))
    if len(history) < ENOUGH_RUNS:
        return []
    return failures.judge(history, latest, t.more_failures, t.fewer_failures)


def _memory(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    memory = latest.peak_memory_bytes
    if not _is_known(memory, 0):
        return []
    has_jobs = latest.job_count > 0
    keep = _known(history.peak_memory_bytes, 0) & ((history.job_count > 0) == has_jobs)
    history = history.where(keep)
    metric = _MEMORY if has_jobs else _MEMORY_WITHOUT_JOBS
    values = history.peak_memory_bytes
    question = Question(metric, history, values, latest, memory, t.more_memory, 1 / t.more_memory)
    return ratio.judge(question, zone)


def _queue_time(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    waited = latest.queue_time_seconds
    if not _is_known(waited, -1e-9):
        return []
    history = history.where(_known(history.queue_time_seconds, -1e-9))
    values = history.queue_time_seconds
    question = Question(_QUEUE, history, values, latest, waited, t.longer_queue, 1 / t.longer_queue)
    return ratio.judge(question, zone)


def _is_known(value: float, above: float) -> bool:
    return math.isfinite(value) and value > above


def _known(values: Floats, above: float) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values > above)
