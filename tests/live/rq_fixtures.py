"""Real RQ workers and producers, and what they recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rq
import rq.worker

from tests.conftest import RedisServer
from tests.live.celery_fixtures import ROOT, Producer, Run, Signals, environment, wait_for

__all__ = [
    "Producer",
    "Run",
    "Signals",
    "Worker",
    "command",
    "environment",
    "produce",
    "rq_worker",
    "wait_for",
]

JOBS = "tests.live.apps.rq_jobs"
SETTINGS = "tests.live.apps.rq_settings"
CLASSES = {
    "fork": "rq.worker.Worker",
    "spawn": "rq.worker.SpawnWorker",
    "simple": "rq.worker.SimpleWorker",
}
if not hasattr(rq.worker, "SpawnWorker"):
    del CLASSES["spawn"]  # new in RQ 2.2
VERSION = tuple(int(part) for part in rq.__version__.split(".")[:2])
"""Of this RQ, as far as features go."""
FORKING = [kind for kind in CLASSES if kind != "simple"]
RETURNED_RETRIES = hasattr(rq.worker.Worker, "handle_job_retry")
"""Whether this RQ takes a returned ``Retry`` for one."""


class Worker:
    """An ``rq worker`` process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """All it printed so far."""
        return self._log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 30) -> float:
        """End it; returns how many seconds that took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(seconds)
        return time.monotonic() - began

    def stop_cold(self) -> None:
        """End it with a cold shutdown, which kills its horse or breaks off its job."""

        # RQ takes two signals within a second for one; a third would break off what it does last.
        def heard() -> bool:
            if self.process.poll() is None and "old shut down" not in self.log:
                self.process.send_signal(signal.SIGTERM)
            return self.process.poll() is not None

        wait_for(heard, "cold shutdown")

    def wait(self, seconds: float = 60) -> None:
        """Wait until it has ended by itself."""
        self.process.wait(seconds)
        assert self.process.returncode == 0, self.log


@contextmanager
def rq_worker(
    server: RedisServer,
    folder: Path,
    *options: str,
    kind: str = "fork",
    queue: str = "work",
    ready: bool = True,
    **env: str,
) -> Iterator[Worker]:
    """A worker that listens; killed with its horses at the end.

    Args:
        server: Broker and state store.
        folder: For its log.
        options: Of ``rq worker``.
        kind: One of :data:`CLASSES`, or a class's dotted name.
        queue: Which it listens to.
        ready: Wait until it listens.
        env: Added to its environment.
    """
    log = folder / "worker.log"
    worker_class = CLASSES.get(kind, kind)
    arguments = [sys.executable, "-m", "rq.cli", "worker", "-c", SETTINGS, "-w", worker_class]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*arguments, *options, queue],
            cwd=ROOT,
            env=environment(server, **env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    worker = Worker(process, log)
    try:
        if ready:
            wait_for(
                lambda: "Listening on" in worker.log or process.poll() is not None, "worker ready"
            )
        yield worker
    except BaseException:
        print(worker.log)
        raise
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(10)


def produce(server: RedisServer, program: str, **env: str) -> Any:
    """Run a program of its own that has the jobs and ``queue``; what it prints is JSON."""
    text = f"import json, jobmon\nimport {JOBS} as jobs\nfrom {JOBS} import *\n"
    ran = subprocess.run(
        [sys.executable, "-c", text + textwrap.dedent(program)],
        cwd=ROOT,
        env=environment(server, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout.strip() else None


def command(server: RedisServer, body: str, *, name: str = "data:process", **env: str) -> str:
    """Run a command that publishes; returns its run's id."""
    program = f"with jobmon.command({name!r}) as run:\n"
    program += textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return produce(server, program + "\nprint(json.dumps(run.id))", **env)
