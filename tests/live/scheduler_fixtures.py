"""Real schedulers, and what is known of them and of the runs that they send."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.reader import Reader
from jobmon.store.schedules import ScheduleEntry, SchedulerState, Schedules
from tests.conftest import RedisServer
from tests.live.celery_fixtures import ROOT, environment, wait_for

BEAT_APP = "tests.live.apps.beat_app"
EVERY_RUN = ("commands:running", "commands:finished")


class Process:
    """A process that logs to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """All it printed so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this."""
        wait_for(lambda: text in self.log or self.process.poll() is not None, text)
        assert text in self.log, self.log

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 30) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(seconds)


@contextmanager
def running(
    server: RedisServer, folder: Path, command: Sequence[str], name: str = "scheduler", **env: str
) -> Iterator[Process]:
    """A process of its own; killed with its children at the end."""
    log = folder / f"{name}.log"
    env = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": "0.2", **env}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(server, **env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = Process(process, log)
    try:
        yield started
    except BaseException:
        print(started.log)
        raise
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(10)


@contextmanager
def beat(
    server: RedisServer,
    folder: Path,
    schedule: dict[str, tuple[str, str, list[Any]]],
    *options: str,
    **env: str,
) -> Iterator[Process]:
    """``celery beat`` with entries: task, how often, arguments."""
    command = ["-m", "celery", "-A", BEAT_APP, "beat", "-l", "INFO", "--pidfile", ""]
    if not any(option.startswith(("-S", "--scheduler")) for option in options):
        command += ["-s", str(folder / "schedule")]
    env = {"TEST_SCHEDULE": json.dumps(schedule), **env}
    with running(server, folder, [*command, *options], **env) as process:
        process.wait_for("beat: Starting...")
        yield process


@contextmanager
def beat_worker(server: RedisServer, folder: Path, *options: str, **env: str) -> Iterator[Process]:
    """A worker for what beat sends, with one child."""
    command = ["-m", "celery", "-A", BEAT_APP, "worker", "-c", "1", "-l", "INFO"]
    command += ["--without-gossip", "--without-mingle", *options]
    with running(server, folder, command, "worker", **env) as process:
        process.wait_for(" ready.")
        yield process


class Known:
    """What the store tells."""

    def __init__(self, server: RedisServer) -> None:
        self.settings = load({"redis.url": server.url}, environ={})
        self.client: Any = connection.connect(self.settings)
        self._reader = Reader(self.client, self.settings)

    def schedules(self) -> Schedules:
        """Schedulers and entries."""
        return self._reader.schedules()

    def scheduler(self, what: Callable[[SchedulerState], bool] = lambda _: True) -> SchedulerState:
        """The only scheduler, once it is so."""

        def found() -> SchedulerState | None:
            schedulers = self.schedules().schedulers
            return schedulers[0] if len(schedulers) == 1 and what(schedulers[0]) else None

        return self._wait(found, "a scheduler")

    def entry(
        self, name: str, what: Callable[[ScheduleEntry], bool] = lambda _: True
    ) -> ScheduleEntry:
        """The only entry of this name, once it is so."""

        def found() -> ScheduleEntry | None:
            entries = [one for one in self.schedules().entries if one.name == name]
            return entries[0] if len(entries) == 1 and what(entries[0]) else None

        return self._wait(found, f"entry {name}")

    def runs(self, command: str) -> list[dict[str, Any]]:
        """Runs of a command as the store has them, by the moment they were sent."""
        found: dict[str, dict[str, Any]] = {}
        for key in EVERY_RUN:
            for raw in self.client.hvals(f"jobmon:{key}"):
                run = json.loads(raw)
                if run["command"] == command:
                    found[run["id"]] = run
        return sorted(found.values(), key=lambda run: run.get("sent_at") or 0)

    def run(
        self, command: str, what: Callable[[dict[str, Any]], bool] = lambda run: "outcome" in run
    ) -> dict[str, Any]:
        """The first run of a command that is so; by default, that ended."""
        return self._wait(
            lambda: next((run for run in self.runs(command) if what(run)), None),
            f"a run of {command}",
        )

    def _wait(self, what: Callable[[], Any], why: str) -> Any:
        try:
            return wait_for(what, why)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.schedules()}") from None
