"""The benchmark of the overhead runs, with few jobs, and its arithmetic is right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overhead import report, statistics
from benchmarks.overhead.__main__ import main
from benchmarks.overhead.cpu import tree_seconds
from benchmarks.overhead.rounds import Cost

BURN = """
import os, sys, time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until: pass
for _ in range(2):
    if not (child := os.fork()):
        burn(0.1); os._exit(0)
    os.waitpid(child, 0)
if not os.fork():
    burn(0.1); os.write(1, b"done"); time.sleep(60); os._exit(0)
time.sleep(60)
"""


@pytest.mark.clock
def test_a_tree_counts_the_living_and_the_reaped_once() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BURN], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"done"
        assert 0.27 < tree_seconds(process.pid) < 0.45
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_of_the_kernel_the_version_is_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "6.1.2-of-somebody-42")
    assert report.kernel() == "6.1.2"


def test_targets_compare_the_minima() -> None:
    def costs(bare: float, own: float, events: float) -> dict[str, list[Cost]]:
        return {
            "celery:bare": [Cost(bare - 10, 0, 0), Cost(bare + 10, 0, 0)],
            "celery:jobmon": [Cost(bare, own, 0)] * 2,
            "celery:events": [Cost(bare, 0, events)] * 2,
        }

    rounds = [costs(100, 30, 200), costs(150, 90, 400), costs(120, 20, 100)]
    (target,) = statistics.targets(rounds)
    assert target.estimate.value == pytest.approx((130 - 100) / (220 - 100))
    assert target.estimate.low <= target.estimate.value <= target.estimate.high
    assert target.met


@pytest.mark.live
@pytest.mark.timeout(300)
def test_every_kind_of_row_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- results: written by `python -m benchmarks.overhead --page` -->\nold\n"
        "<!-- end of results -->\nafter\n"
    )
    rows = ["celery:jobmon-spans", "celery:events", "rq:jobmon"]
    options = ["--rounds", "1", "--turns", "2", "--jobs", "40", "--rq-jobs", "10", "--no-hooks"]
    files = ["--json", str(tmp_path / "json"), "--page", str(page)]
    main([*options, *files, "--rows", *rows])
    (measured,) = json.loads((tmp_path / "json").read_text())["rounds"]
    assert set(measured) == set(rows)
    assert all(len(turns) == 2 and turns[0]["worker"] > 0 for turns in measured.values())
    assert page.read_text().startswith("before\n")
    assert "old" not in page.read_text()
    assert "| Celery's own events (`-E`) |" in page.read_text()
    assert page.read_text().endswith("after\n")
