"""Real Celery workers and producers, and what they recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import RedisServer

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.live.apps.celery_app"
T = TypeVar("T")


def wait_for(what: Callable[[], T], why: str, seconds: float = 60) -> T:
    """What becomes true within the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"never: {why}"
        time.sleep(0.02)
    return found


def environment(server: RedisServer, **more: str) -> dict[str, str]:
    """Environment of an instrumented process that uses this server for everything."""
    return {
        **os.environ,
        "TEST_URL": server.url.rsplit("/", 1)[0],
        "JOB_MONITOR_REDIS_URL": server.url,
        "JOB_MONITOR_ENVIRONMENT": "tests",
        "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
        **more,
    }


class Worker:
    """A ``celery worker`` process."""

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


@contextmanager
def celery_worker(
    server: RedisServer,
    folder: Path,
    *options: str,
    pool: str = "prefork",
    app: str = APP,
    **env: str,
) -> Iterator[Worker]:
    """A worker that is ready for jobs; killed with its children at the end."""
    log = folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "--pool", pool, "-l", "INFO"]
    command += ["--concurrency", "2", "--without-gossip", "--without-mingle", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(server, **env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    worker = Worker(process, log)
    try:
        wait_for(lambda: " ready." in worker.log or process.poll() is not None, "worker ready")
        assert process.poll() is None, worker.log
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
    """Run a program of its own that has the tasks as ``app``; what it prints is JSON."""
    text = f"import json, jobmon\nfrom {APP} import *\n" + textwrap.dedent(program)
    ran = subprocess.run(
        [sys.executable, "-c", text],
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


class Run:
    """What the store holds of one command run."""

    def __init__(
        self,
        server: RedisServer,
        process_id: str,
        *,
        name: str = "data:process",
        prefix: str = "jobmon:",
    ) -> None:
        self.server = server
        self.prefix = prefix
        self.process_id = process_id
        self.name = name

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Records by job id, which each has as ``id`` too."""
        with self.server.client() as client:
            stored = client.hgetall(f"{self.prefix}command:{self.process_id}:jobs")
        return {
            key.decode(): {**json.loads(value), "id": key.decode()} for key, value in stored.items()
        }

    def named(self, name: str) -> list[dict[str, Any]]:
        """Records of one task."""
        return [job for job in self.jobs().values() if job["class"].endswith("." + name)]

    def one(self) -> dict[str, Any]:
        """The only record."""
        (record,) = self.jobs().values()
        return record

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Records of a job's earlier attempts, oldest first."""
        with self.server.client() as client:
            stored = client.hgetall(f"{self.prefix}command:{self.process_id}:attempts")
        found = [json.loads(value) for key, value in stored.items() if job_id in key.decode()]
        return sorted(found, key=lambda record: record["attempt"])

    def counters(self) -> dict[str, str]:
        """The run's hash."""
        with self.server.client() as client:
            stored = client.hgetall(f"{self.prefix}command:metrics:{self.name}:{self.process_id}")
        return {key.decode(): value.decode() for key, value in stored.items()}

    def ended(self, number: int, seconds: float = 60) -> dict[str, dict[str, Any]]:
        """Records once so many jobs, and no others, have ended."""
        return self.reached(
            number, {"completed", "failed", "lost", "revoked"}, f"{number} jobs ended", seconds
        )

    def reached(
        self, number: int, statuses: set[str], why: str = "", seconds: float = 60
    ) -> dict[str, dict[str, Any]]:
        """Records once there are so many and all have one of these statuses."""

        def found() -> dict[str, dict[str, Any]] | None:
            jobs = self.jobs()
            reached = len(jobs) == number and all(
                job["status"] in statuses for job in jobs.values()
            )
            return jobs if reached else None

        try:
            return wait_for(found, why or f"{number} jobs {statuses}", seconds)
        except AssertionError as error:
            jobs = self.jobs()
            states = sorted((job["class"], job["status"], job["attempt"]) for job in jobs.values())
            raise AssertionError(f"{error}; {len(jobs)} jobs: {states[:20]}") from None

    def check_counters(self) -> None:
        """The run's counters equal a recount of its records."""
        jobs, counters = self.jobs().values(), self.counters()
        statuses = [job["status"] for job in jobs]
        expected = {
            "job_count": len(statuses),
            "success_jobs": statuses.count("completed"),
            "failed_jobs": statuses.count("failed") + statuses.count("lost"),
            "lost_jobs": statuses.count("lost"),
            "revoked_jobs": statuses.count("revoked"),
            "retried_jobs": sum(job["attempt"] > 1 for job in jobs),
        }
        counted = {name: int(counters.get(name, 0)) for name in expected}
        assert counted == expected
        ended = [job for job in jobs if job["status"] in ("completed", "failed", "retrying")]
        total = sum(job.get("execution_time", 0.0) for job in ended)
        assert abs(float(counters.get("total_job_time", 0)) - total) < 1e-5 * (len(statuses) + 1)


class Signals:
    """The other side of ``celery_app.hold``."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client(db=3)

    def wait_at(self, name: str) -> int:
        """Wait for a job to get there; its process id."""
        return int(wait_for(lambda: self._client.get(f"at:{name}"), f"a job at {name}"))

    def go(self, name: str) -> None:
        """Let it go on."""
        self._client.set(f"go:{name}", 1, ex=60)


class Producer:
    """A process that publishes, kept open for many programs."""

    def __init__(self, server: RedisServer, jobs: str = APP, **env: str) -> None:
        self._server = server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.apps.producer", jobs],
            cwd=ROOT,
            env=environment(server, **env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str) -> Any:
        """Run a program; returns what it assigned to ``said``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(textwrap.dedent(program)) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "raised" not in answer, answer["raised"]
        return answer["said"]

    def command(self, body: str, say: str = "None") -> tuple[Run, Any]:
        """Run a command that publishes; returns its run and what an expression says."""
        program = "with jobmon.command('data:process') as run:\n"
        program += textwrap.indent(textwrap.dedent(body).strip(), "    ")
        process_id, said = self.run(f"{program}\nsaid = [run.id, {say}]")
        return Run(self._server, process_id), said

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
