"""How well runs are judged: the product beside the naive comparison with an average.

``anombench`` is a labelled benchmark of detectors that is not part of the repository. `detect` and
`detect_many` are the interface that it calls; with its file given, its parts are run over several
seeds, and the page is written:

    python -m benchmarks.anomalies --anombench anombench.py --page
    python anombench.py --detector benchmarks.anomalies:detect
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from benchmarks import page
from jobmon.analysis import (
    discoveries,
    judge,
)
from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.missed import expected, missed
from jobmon.analysis.overdue import overdue
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.thresholds import Thresholds

PAGE: Final = page.FOLDER / "anomalies.md"
THRESHOLDS: Final = Thresholds(
    slower=1.25,
    faster=0.8,
    more_jobs=1.5,
    fewer_jobs=1 / 1.5,
    more_memory=1.2,
    longer_queue=2.0,
)
"""What the benchmark counts as an effect is less than the product's defaults."""
SILENCE_SECONDS: Final = 3600.0
"""Likewise: the default is a day."""
SEEDS: Final = (1, 2, 3)

_NAMES: Final = {kind: kind.value for kind in Kind} | {Kind.FAILURE_RATE_SPIKE: "failure_rate"}
_UNASKED: Final = Kind.FAILURE_RATE_DROP

Given = Mapping[str, Any]
Said = list[dict[str, Any]]
Case = tuple[Sequence[Given], Given, float]


def detect(history: Sequence[Given], latest: Given, now: float) -> Said:
    """Anomalies of one command, in the benchmark's words."""
    return _said(checks(history, latest, now))


def detect_many(cases: Sequence[Case]) -> list[Said]:
    """Those of many commands, false discoveries controlled."""
    return [_said(found) for found in discoveries.control([checks(*case) for case in cases])]


def checks(
    history: Sequence[Given], latest: Given, now: float, thresholds: Thresholds = THRESHOLDS
) -> tuple[Check, ...]:
    """All that the product asks."""
    runs = Runs.of(_run(given) for given in history if given["status"] != "running")
    is_running = latest["status"] == "running"
    starts = np.append(runs.started_at, latest["started_at"])
    silence = SILENCE_SECONDS if thresholds is THRESHOLDS else 86_400.0
    due = missed(expected(starts, now, silence_seconds=silence, is_running=is_running))
    if is_running:
        found = [overdue(runs, latest["started_at"], now)]
    else:
        found = list(judge.judge(runs, _run(latest), thresholds).checks)
    return tuple(check for check in (*found, due) if check is not None)


def _run(given: Given) -> Run:
    seconds = _number(given["duration"])
    return Run(
        given["started_at"],
        seconds,
        seconds,
        given["job_count"],
        given["failed_jobs"],
        _number(given["peak_memory"]),
        _number(given["queue_time"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _said(found: Sequence[Check]) -> Said:
    return [
        {"type": _NAMES[check.kind], "p_value": check.p_value}
        for check in found
        if check.is_anomaly and check.kind is not _UNASKED
    ]
