"""The benchmark of the API asks what it says, beside those it says, however little they hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.api.__main__ import LISTS, OTHERS

pytestmark = pytest.mark.live


def test_every_endpoint_and_every_peer_is_measured() -> None:
    few = ("--rows", "2000", "--tasks", "20", "--rounds", "1", "--seconds", "0.2")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.api", *few, "--only", "sqlite"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: slower than its target
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    measured = [row[1] for row in rows[2:]]
    assert measured == ["a bare route", "Flower", "rq-dashboard", *LISTS, *OTHERS]
