"""One round: for each row a fresh server, worker and producer, which then take turns."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.overhead import gate
from benchmarks.overhead.cpu import tree_seconds
from benchmarks.overhead.rows import ROW_VARIABLE, Row
from jobmon.demo.processes import free_port, store_binary

ROOT: Final = Path(__file__).parents[2]
SETTLE_SECONDS: Final = 1.2
"""From the last job to the reading of the CPU: what is batched goes out in this time."""
_SPAN_DELAY_MS: Final = 1000
_START_SECONDS: Final = 60.0
_PHASE_SECONDS: Final = 600.0
_CATCH_UP_SECONDS: Final = 30.0


class BenchmarkError(Exception):
    """A process ended or did not do what it must for the numbers to mean anything."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU per job in µs."""

    worker: float
    producer: float
    redis: float

    @property
    def total(self) -> float:
        """All three."""
        return self.worker + self.producer + self.redis


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    """A Redis on a free port, until the block is left."""
    port = free_port()
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(_server(port), cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        with redis.Redis(port=port) as client:
            while not _answers(client):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise BenchmarkError((folder / "redis.log").read_text())
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


class Receiver:
    """The process that spans go to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.overhead.receiver"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def spans(self) -> int:
        """How many have arrived."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return int(answer.read())

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Stage:
    """The processes of one row while it is measured."""

    def __init__(self, row: Row, receiver: Receiver, folder: Path) -> None:
        self.row = row
        self._receiver = receiver
        self._folder = folder
        port = free_port()
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("OTEL_")
        } | {
            ROW_VARIABLE: row.key,
            gate.URL_VARIABLE: f"redis://127.0.0.1:{port}/0",
            "JOB_MONITOR_REDIS_URL": f"redis://127.0.0.1:{port}/1",
            "PYTHONPATH": str(ROOT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": str(_SPAN_DELAY_MS),
        }
        self._running: list[subprocess.Popen[bytes]] = []
        self._port = port
        self._client = redis.Redis(port=port)

    def start(self) -> None:
        """Start all; :meth:`ready` waits for them."""
        self._redis = self._start(_server(self._port))
        self._await(lambda: _answers(self._client), _START_SECONDS)
        self._worker = self._start([sys.executable, "-m", *_worker(self.row)])
        self._producer = self._start(
            [sys.executable, "-m", "benchmarks.overhead.producer"], pipes=True
        )

    def ready(self) -> None:
        """Wait until the producer can publish."""
        self._told("ready")

    def run(self, jobs: int) -> Cost:
        """Publish so many jobs, then let the worker run them.

        One after the other, so that the processes do not compete for the processors.
        """
        spans = self._receiver.spans()
        before = self._cpu()
        assert self._producer.stdin is not None
        self._producer.stdin.write(f"{jobs}\n".encode())
        self._producer.stdin.flush()
        self._told(str(jobs))
        self._client.rpush(gate.OPENED, 1)
        deadline = time.monotonic() + _PHASE_SECONDS
        while self._client.blpop([gate.REPORTED], timeout=1) is None:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.row.key}: the jobs have not run: {self._log()}")
            self._check()
        time.sleep(SETTLE_SECONDS)
        after = self._cpu()
        spans += self.row.spans_per_job * jobs
        self._await(lambda: self._receiver.spans() >= spans, _CATCH_UP_SECONDS)
        worker, producer, server = (
            (b - a) * 1e6 / jobs for a, b in zip(before, after, strict=True)
        )
        return Cost(worker, producer, server)

    def completed(self) -> int:
        """Jobs that jobmon's store knows to have succeeded."""
        with redis.Redis(port=self._port, db=1) as store:
            runs = store.scan_iter("jobmon:command:metrics:overhead:publish:*")
            return sum(int(store.hget(run, "success_jobs") or 0) for run in runs)

    def await_completed(self, jobs: int) -> None:
        """Raise unless jobmon has recorded so many jobs."""
        try:
            self._await(lambda: self.completed() == jobs, _CATCH_UP_SECONDS)
        except BenchmarkError as error:
            error.add_note(f"jobmon recorded {self.completed()} of {jobs} jobs")
            raise

    def stop(self) -> None:
        """End all, and what they forked."""
        self._client.close()
        for process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _start(self, command: list[str], *, pipes: bool = False) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def _cpu(self) -> tuple[float, float, float]:
        self._check()
        worker, producer, server = (
            tree_seconds(process.pid) for process in (self._worker, self._producer, self._redis)
        )
        return worker, producer, server

    def _told(self, expected: str) -> None:
        assert self._producer.stdout is not None
        said = self._producer.stdout.readline().decode().strip()
        if said != expected:
            raise BenchmarkError(f"{self.row.key}: the producer said {said!r}: {self._log()}")

    def _await(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.row.key}: not in time: {self._log()}")
            time.sleep(0.05)

    def _check(self) -> None:
        for process in self._running:
            if process.poll() is not None:
                name = " ".join(map(str, process.args[:4]))  # type: ignore[index]
                raise BenchmarkError(f"{self.row.key}: {name} ended: {self._log()}")

    def _log(self) -> str:
        text = (self._folder / "log").read_text("utf-8", "replace")
        return "\n" + "\n".join(text.splitlines()[-20:])


def measure(
    rows: Sequence[Row], receiver: Receiver, order: random.Random, *, jobs: int, turns: int
) -> dict[str, list[Cost]]:
    """CPU per job in fresh processes: of each row as many costs as it had turns.

    All rows' processes live at the same time and work in turns, in random order, so that what
    else the machine does strikes all rows alike.

    Args:
        rows: What to compare.
        receiver: Where spans go.
        order: Of the turns.
        jobs: Of each row, over all turns.
        turns: Of each row.
    """
    found: dict[str, list[Cost]] = {row.key: [] for row in rows}
    each = jobs // turns
    with contextlib.ExitStack() as stack:
        stages: list[Stage] = []
        for row in rows:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobmon-benchmark-"))
            stage = Stage(row, receiver, Path(folder))
            stack.callback(stage.stop)
            stage.start()
            stages.append(stage)
        for stage in stages:
            stage.ready()
            stage.run(max(10, jobs // 10))
        for _ in range(turns):
            order.shuffle(stages)
            for stage in stages:
                found[stage.row.key].append(stage.run(each))
        for stage in stages:
            if stage.row.jobmon:
                stage.await_completed(max(10, jobs // 10) + turns * each)
    return found


def _server(port: int) -> list[str]:
    return [store_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _worker(row: Row) -> list[str]:
    if row.engine == "rq":
        return ["benchmarks.overhead.rq_app"]
    options = ["worker", "--pool=prefork", "--concurrency=1", "--loglevel=WARNING"]
    options += ["--without-gossip", "--without-mingle"]
    if row.name == "events":
        options.append("--task-events")
    return ["celery", "--app=benchmarks.overhead.celery_app", *options]
