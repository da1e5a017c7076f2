"""``jobmon serve`` as a real process, and runs and jobs for it to show."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from jobmon.model import STATUS_OF, Outcome, RunTransition, Stage, Status, Transition
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.described import description

PREFIX = "/api/job-monitor"
READ, OPERATE, METRICS = "jmr_reader", "jmo_operator", "jmm_prometheus"


def configured(name: str, scope: str, token: str) -> str:
    """A token as the setting ``auth.tokens`` holds it."""
    return f"{name}:{scope}:sha256:{hashlib.sha256(token.encode()).hexdigest()}"


TOKENS = ",".join(
    (
        configured("ann", "read", READ),
        configured("ben", "operate", OPERATE),
        configured("prometheus", "metrics", METRICS),
    )
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings alone, named without their prefix."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JOB_MONITOR_")}
    given = {f"JOB_MONITOR_{name}": value for name, value in settings.items()}
    return {**clean, "PYTHONPATH": str(Path(__file__).parents[1]), **given}


# Tests ask more than people.
_UNLIMITED = {"RATE_LIMITING_ENABLED": "false"}


class Served:
    """One ``jobmon serve``. Settings are given as environment variables without their prefix."""

    def __init__(self, redis_url: str, *options: str, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jobmon-serve-")
        given = {"REDIS_URL": redis_url, "LISTEN": "127.0.0.1:0", **_UNLIMITED, **settings}
        self._log = Path(self._folder.name, "stderr")
        with self._log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobmon.cli.main", "serve", *options],
                cwd=self._folder.name,
                env=environment(**given),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout is not None
        self.headline = self.process.stdout.readline().strip()
        if not self.headline:
            self.stop()
            raise AssertionError(self.log_at_end)
        found = re.search(r"http://[^/ ]+", self.headline)
        self.url = found.group() if found else "http://localhost"
        self._prefix = settings.get("PREFIX", PREFIX.strip("/"))
        self.client = httpx.Client(
            base_url=self.url,
            trust_env=False,
            timeout=20,
            event_hooks={"response": [self._as_described]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None or self._log.exists():
            self.stop()

    def _as_described(self, answer: httpx.Response) -> None:
        if answer.headers.get("content-type") == "application/json":
            answer.read()
        description(self._prefix).check(answer)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET below the API's prefix."""
        return self.client.get(f"{PREFIX}/{path}", **options)

    def data(self, path: str) -> Any:
        """What an endpoint answers, out of its envelope."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def wait(self) -> int:
        return self.process.wait(20)

    def logged(self) -> str:
        return self._log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as an operator would; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.wait()
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.log_at_end = self.logged()
            self._folder.cleanup()


class Recorded:
    """Writes runs and jobs as workers would."""

    def __init__(self, store: RedisServer) -> None:
        self.client = store.client
        self.settings = load({"redis.url": store.url}, environ={})
        self._client = connection.connect(self.settings)
        self._writer = Writer(self._client, self.settings)

    def write(self, *batch: Transition | RunTransition) -> None:
        for start in range(0, len(batch), 200):
            some = batch[start : start + 200]
            applied = self._writer.apply(some)
            assert applied.malformed == applied.refused == 0

    def close(self) -> None:
        self._client.close()

    def run(self, command: str = "data:process", **more: Any) -> Run:
        """Start a run; ``more`` are further members of its record."""
        return Run(self, command, more)


class Run:
    """A command run and its jobs."""

    def __init__(self, to: Recorded, command: str, more: dict[str, Any]) -> None:
        self._to = to
        self.id = str(uuid.uuid4())
        self.command = command
        self.record: dict[str, Any] = {
            "id": self.id,
            "command": command,
            "source": "console",
            "started_at": time.time(),
            "environment": "production",
            "arguments": {},
            "options": {},
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "host": "worker-1",
            "pid": 4321,
            **more,
        }
        self._write("running", "")

    def end(self, outcome: Outcome = Outcome.COMPLETED, exit_code: int = 0, **more: Any) -> None:
        started = self.record["started_at"]
        self.record |= {"finished_at": time.time(), "exit_code": exit_code, **more}
        self.record["duration"] = self.record["finished_at"] - started
        self._write(str(STATUS_OF[outcome]), str(outcome))

    def _write(self, status: str, outcome: str) -> None:
        at = self.record.get("finished_at") or self.record["started_at"]
        seconds = self.record.get("duration", 0.0)
        body = json.dumps(self.record).encode()
        self._to.write(
            RunTransition(
                self.id,
                self.command,
                status,
                outcome,
                int(at * 1000),
                int(seconds * 1e6),
                self.record.get("exit_code", 0),
                body,
            )
        )

    def job(self, ended: Outcome | None = None, **more: Any) -> str:
        """Publish a job; with ``ended``, start and end it too. Returns its id."""
        return self.jobs(1, ended, **more)[0]

    def jobs(self, number: int, ended: Outcome | None = None, **more: Any) -> list[str]:
        ids = [str(uuid.uuid4()) for _ in range(number)]
        batch = [self.transition(job_id, Status.PENDING, Stage.ENQUEUED, **more) for job_id in ids]
        if ended is not None:
            start = Status.PROCESSING, Stage.STARTED
            batch += [self.transition(job_id, *start, **more) for job_id in ids]
            status = STATUS_OF[ended], Stage.ENDED
            batch += [self.transition(job_id, *status, ended, **more) for job_id in ids]
        self._to.write(*batch)
        return ids

    def ended(self, job_id: str, outcome: Outcome = Outcome.COMPLETED) -> Transition:
        """The end of a job."""
        return self.transition(job_id, STATUS_OF[outcome], Stage.ENDED, outcome)

    def transition(
        self,
        job_id: str,
        status: Status,
        stages: Stage,
        outcome: Outcome | None = None,
        *,
        queue: str = "default",
        engine: str = "celery",
        job_name: str = "app.tasks.process_user",
        seconds: float = 0.42,
        queue_seconds: float = 0.03,
        created_at: float | None = None,
        error_type: str = "ValueError",
        **more: Any,
    ) -> Transition:
        now = time.time()
        record: dict[str, Any] = {
            "queue": queue,
            "class": job_name,
            "command_name": self.command,
            "process_id": self.id,
            "engine": engine,
            "created_at": created_at if created_at is not None else now,
            **more,
        }
        if outcome is not None:
            record |= {"execution_time": seconds, "queue_time": queue_seconds}
            record |= {"memory_usage": 10_485_760, "outcome": str(outcome)}
        failed = outcome in (Outcome.FAILED, Outcome.TIMED_OUT)
        return Transition(
            process_id=self.id,
            command=self.command,
            manual=False,
            job_id=job_id,
            engine=engine,
            queue=queue,
            job_name=job_name,
            status=str(status),
            outcome=str(outcome) if outcome is not None else "",
            attempt=1,
            delivery=0,
            stages=int(stages),
            at_ms=int(now * 1000),
            execution_us=int(seconds * 1e6) if outcome is not None else 0,
            queue_time_us=int(queue_seconds * 1e6) if status is not Status.PENDING else -1,
            peak_memory_bytes=10_485_760 if outcome is not None else 0,
            error_type=error_type if failed else "",
            body=json.dumps({**record, "v": 1}, ensure_ascii=False, separators=(",", ":")).encode()[
                1:
            ],
        )


def until(what: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def served(redis_server: RedisServer) -> Iterator[Served]:
    """A server with defaults, on the session's store, for one module.

    Its reaper writes there, and it may lead: then it copies what others wait to copy.
    """
    with Served(redis_server.url) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(redis_server: RedisServer) -> Iterator[Served]:
    """A server that wants tokens, on the session's store, as behind a proxy."""
    with Served(redis_server.url, AUTH_TOKENS=TOKENS, TRUSTED_PROXIES="127.0.0.1") as running:
        yield running


@pytest.fixture
def recorded(store: RedisServer) -> Iterator[Recorded]:
    """The session's store, emptied, and a writer to it."""
    writer = Recorded(store)
    try:
        yield writer
    finally:
        writer.close()
