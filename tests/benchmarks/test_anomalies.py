"""The benchmark of the analysis speaks of the product's own judgements."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from benchmarks import anomalies

MONDAY = 1736121600.0


def run(at: int, **more: Any) -> dict[str, Any]:
    return {
        "started_at": MONDAY + 3600.0 * at,
        "duration": 50.0 + at % 3,
        "job_count": 100,
        "success_jobs": 100,
        "failed_jobs": 0,
        "peak_memory": 100_000_000 + at % 5,
        "queue_time": 1.0,
        "status": "completed",
        **more,
    }


HISTORY = [run(at) for at in range(40)]


@pytest.mark.parametrize(
    ("latest", "later", "kinds"),
    [
        (run(40), 100.0, set[str]()),
        (run(40, duration=150.0), 200.0, {"performance_degradation"}),
        (run(40, failed_jobs=40, success_jobs=60), 100.0, {"failure_rate"}),
        (run(40), 4 * 3600.0, {"missed_execution"}),
        (run(40, duration=None, status="running"), 1000.0, {"overdue_run"}),
        (run(40, peak_memory=None, queue_time=None), 100.0, set[str]()),
    ],
)
def test_it_says_what_the_product_finds(
    latest: dict[str, Any], later: float, kinds: set[str]
) -> None:
    now = latest["started_at"] + later
    assert {one["type"] for one in anomalies.detect(HISTORY, latest, now)} == kinds
    (found,) = anomalies.detect_many([(HISTORY, latest, now)])
    assert {one["type"] for one in found} <= kinds


@pytest.mark.parametrize("name", anomalies.WITHOUT)
def test_a_step_that_is_switched_off_is_there(name: str) -> None:
    _, module, function, instead = anomalies.WITHOUT[name]
    assert callable(getattr(module, function))
    assert getattr(module, function) is not instead


def test_without_the_benchmark_it_says_what_it_needs() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.anomalies"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert "needs anombench.py" in said.stdout
