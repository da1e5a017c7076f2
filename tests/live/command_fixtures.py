"""Programs that know nothing of jobmon, instrumented from outside, and the runs they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobmon.instrument.child_process import BOOTSTRAP
from tests.conftest import RedisServer

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "tests" / "live" / "apps"


def environment(server: RedisServer, **more: str) -> dict[str, str]:
    """Environment in which a Python process instruments itself when it imports Click or Django."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JOB_MONITOR_", "JOBMON_RUNNER", "OTEL_"))
    }
    return {
        **clean,
        "PYTHONPATH": os.pathsep.join((str(BOOTSTRAP), str(ROOT))),
        "JOB_MONITOR_REDIS_URL": server.url,
        "TEST_URL": server.url,
        **more,
    }


def run(
    server: RedisServer, *words: str, python: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        server: State store, and broker of the jobs it publishes.
        words: A file of ``tests/live/apps`` or options of Python, and arguments.
        python: The words are Python's; else the first names the program.
        env: More variables.
    """
    first, *rest = words
    if first.endswith(".py"):
        first = str(APPS / first)
    interpreter = [sys.executable] if python else []
    return subprocess.run(
        [*interpreter, first, *rest],
        env=environment(server, **env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def runs(server: RedisServer, state: str = "finished") -> list[dict[str, Any]]:
    """The runs that are finished or running, in the order they started."""
    with server.client() as client:
        found = [json.loads(run) for run in client.hvals(f"jobmon:commands:{state}")]
    return sorted(found, key=lambda run: run["started_at"])


def jobs(server: RedisServer, process_id: str) -> dict[str, dict[str, Any]]:
    """The jobs of a run by their ids."""
    with server.client() as client:
        found = client.hgetall(f"jobmon:command:{process_id}:jobs")
    return {job_id.decode(): json.loads(record) for job_id, record in found.items()}
