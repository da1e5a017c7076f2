"""``jobmon demo``: the whole product at work on this machine, with nothing to set up."""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Any

import redis

from jobmon import settings as configuration
from jobmon.cli import say
from jobmon.demo import report
from jobmon.demo.processes import STOPPING, DemoError, Processes, free_port, store_binary
from jobmon.store import connection
from jobmon.store.reader import Reader

_COMMANDS = {"corpus:index": 20, "corpus:compress": 30, "corpus:check": 25, "corpus:report": 40}
"""The demo's commands and every how many seconds each runs."""
_START_SECONDS = 60.0
_ONCE_SECONDS = 150.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``jobmon demo``."""
    parser.add_argument(
        "--once",
        action="store_true",
        help="run each command once, print what ran, end 0 only if every job is accounted for",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        0 when every job is accounted for (``--once``) or after Ctrl-C, 1 otherwise.
    """
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        with Processes() as processes:
            demo = _Demo(processes)
            demo.start()
            return demo.once() if args.once else demo.on_schedule()
    except DemoError as error:
        say(f"jobmon demo: {error}")
        return 1
    except KeyboardInterrupt:
        return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Demo:
    """A store, two workers, a server, and the four commands."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.store_port = free_port()
        self.server_port = free_port()
        url = f"redis://127.0.0.1:{self.store_port}/0"
        history = f"sqlite:///{processes.folder / 'jobmon.db'}"
        self.env = {
            "JOB_MONITOR_REDIS_URL": url,
            "JOB_MONITOR_DATABASE_URL": history,
            "JOB_MONITOR_ENVIRONMENT": "demo",
            "JOB_MONITOR_CELERY_BROKER_URL": url,
            "JOBMON_DEMO_BROKER_URL": url,
            "JOBMON_DEMO_DIR": str(processes.folder),
        }
        self.settings = configuration.load(
            {"redis.url": url, "database.url": history, "environment": "demo"},
            environ={},
            cwd=processes.folder,
        )
        self.reader = Reader(connection.connect(self.settings), self.settings)

    @property
    def base_url(self) -> str:
        """Where the server answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        folder = str(self.processes.folder)
        self.processes.start(
            "store",
            [
                *(store_binary(), "--port", str(self.store_port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", folder),
            ],
            {},
        )
        self._wait("store", self._store_ready)
        self.processes.python(
            "celery",
            "celery",
            *("-A", "jobmon.demo.celery_app", "worker", "--pool", "prefork", "--concurrency", "2"),
            *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
            env=self.env,
        )
        self.processes.python("rq", "jobmon.demo.rq_worker", env=self.env)
        self.processes.python(
            "server",
            "jobmon.cli.main",
            *("serve", "--listen", f"127.0.0.1:{self.server_port}"),
            env=self.env,
        )
        self._wait("server", self._server_ready)

    def once(self) -> int:
        """Run each command once; see :func:`run` for the exit code."""
        began = time.monotonic()
        promised = [self._finish(self._launch(name)) for name in _COMMANDS]
        deadline = began + _ONCE_SECONDS
        while True:
            found = [
                report.find(self.reader, said["command"], said["process_id"], said["jobs"])
                for said in promised
            ]
            if all(finding.open_jobs == 0 for finding in found) or time.monotonic() > deadline:
                break
            self.processes.check()
            time.sleep(0.2)
        wrong = 0
        for finding in found:
            finished = self.reader.run(finding.process_id)
            exit_code = finished.exit_code if finished is not None else None
            seconds = finished.duration if finished is not None else None
            for line in report.lines(finding, seconds, exit_code):
                print(line)
            problems = finding.problems()
            if exit_code != 0:
                problems.append(f"the command's exit code is {exit_code}")
            for problem in problems:
                print(f"   not accounted for: {problem}")
            wrong += bool(problems)
            print()
        jobs = sum(finding.expected_jobs for finding in found)
        took = time.monotonic() - began
        print(f"{len(found)} commands, {jobs} jobs in {took:.1f} s: ", end="")
        print("every job is accounted for." if not wrong else f"{wrong} commands do not add up.")
        return 1 if wrong else 0

    def on_schedule(self) -> int:
        """Run the commands again and again under a live table until interrupted."""
        from jobmon.cli import status

        due = {name: time.monotonic() + 3.0 * number for number, name in enumerate(_COMMANDS)}
        with status.live(self.reader, self._headline()) as refresh:
            while True:
                for name, at in due.items():
                    if time.monotonic() >= at:
                        due[name] = at + _COMMANDS[name]
                        self._launch(name)
                self.processes.check()
                refresh()
                time.sleep(1.0)

    def _headline(self) -> str:
        api = f"{self.base_url}/{self.settings.prefix}"
        return (
            f"commands  {api}/commands/running   {api}/commands/finished\n"
            f"queues    {api}/stats\n"
            f"metrics   {self.base_url}/metrics\n"
            "Ctrl-C stops everything."
        )

    def _launch(self, name: str) -> subprocess.Popen[str]:
        return self.processes.command("jobmon.demo.commands", name, env=self.env)

    def _finish(self, command: subprocess.Popen[str]) -> dict[str, Any]:
        out, err = command.communicate(timeout=_START_SECONDS)
        if command.returncode:
            raise DemoError(f"a command ended with exit code {command.returncode}:\n{err}")
        return json.loads(out)

    def _store_ready(self) -> bool:
        try:
            self.reader.meta()
        except redis.RedisError:
            return False
        return True

    def _server_ready(self) -> bool:
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=5)
        ) as server:
            try:
                server.request("GET", "/readyz")
                return server.getresponse().status == http.HTTPStatus.OK
            except OSError:
                return False

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            self.processes.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the demo's {name} did not start:\n{self.processes.log_tail(name)}"
                )
            time.sleep(0.1)
