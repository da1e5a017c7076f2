"""The benchmark of the analysis speaks of the product's own judgements."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks import anomalies, nab

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


def test_the_page_has_both() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.anomalies", "--anombench", "x", "--page"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert said.returncode == 2
    assert "--nab DIR" in said.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One series of NAB's: 100 points, 30 to 39 of which people saw as odd."""
    folder = tmp_path / "data" / nab.FOLDERS[0]
    folder.mkdir(parents=True)
    begin = datetime(2014, 2, 14, tzinfo=UTC).replace(tzinfo=None)
    times = [str(begin + timedelta(minutes=5 * at)) for at in range(100)]
    values = [10.0 + at % 3 for at in range(100)]
    for at in (5, 32, 50, 52, 70, 90):
        values[at] *= 4
    rows = [f"{time},{value}" for time, value in zip(times, values, strict=True)]
    (folder / "one.csv").write_text("\n".join(["timestamp,value", *rows]))
    labels = {f"{nab.FOLDERS[0]}/one.csv": [[times[30], times[39]], [times[60], times[64]]]}
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(labels))
    return tmp_path


def test_alarms_on_real_series_are_counted_inside_of_windows_and_outside(checkout: Path) -> None:
    [series] = nab.series(checkout, nab.FOLDERS[0])
    scored = nab.score(series, nab.by_average)
    assert scored == nab.Score(windows=2, found=1, points=70, alarms=4, causes=3)
    assert nab.score(series, nab.by_jobmon).found == 1
    assert scored + scored == nab.Score(windows=4, found=2, points=140, alarms=8, causes=6)
