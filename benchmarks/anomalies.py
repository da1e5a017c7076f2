"""How well runs are judged."""

from __future__ import annotations

import math

from jobmon.analysis import discoveries
from jobmon.analysis.checks import Kind
from jobmon.analysis.judge import judge
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.thresholds import Thresholds

THRESHOLDS = Thresholds(
    slower=1.25, faster=0.8, more_jobs=1.5, fewer_jobs=1 / 1.5, more_memory=1.2, longer_queue=2.0
)
_NAMES = {kind: kind.value for kind in Kind} | {Kind.FAILURE_RATE_SPIKE: "failure_rate"}
del _NAMES[Kind.FAILURE_RATE_DROP]


def _nan(x):
    return math.nan if x is None else float(x)


def _run(r):
    return Run(
        r["started_at"],
        _nan(r["duration"]),
        _nan(r["duration"]),
        r["job_count"],
        r["failed_jobs"],
        _nan(r["peak_memory"]),
        _nan(r["queue_time"]),
    )


def _checks(history, latest, now):
    if latest["status"] == "running":
        return ()
    runs = Runs.of(_run(r) for r in history)
    return judge(runs, _run(latest), THRESHOLDS).checks


def _said(checks):
    return [
        {"type": _NAMES[c.kind], "p_value": c.p_value}
        for c in checks
        if c.is_anomaly and c.kind in _NAMES
    ]


def detect(history, latest, now):
    return _said(_checks(history, latest, now))


def detect_many(many):
    return [_said(c) for c in discoveries.control([_checks(*one) for one in many])]
