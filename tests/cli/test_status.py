"""``jobmon status`` as a process."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.serving import Recorded, environment

pytestmark = pytest.mark.live

COMMAND = [sys.executable, "-m", "jobmon.cli.main", "status"]


def status(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        env=environment(REDIS_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def busy(recorded: Recorded) -> Recorded:
    """One run with jobs in every state, and two that ended."""
    run = recorded.run()
    run.jobs(4, Outcome.COMPLETED)
    run.jobs(2, Outcome.FAILED)
    ids = run.jobs(5)
    recorded.write(*(run.transition(one, Status.PROCESSING, Stage.STARTED) for one in ids[:2]))
    retried = run.transition(run.job(), Status.RETRYING, Stage.ENDED, Outcome.RETRIED)
    recorded.write(retried, retried._replace(status="pending", outcome="", stages=1, attempt=2))
    recorded.run("data:sync").end(Outcome.FAILED, 4)
    recorded.run("data:copy").end()
    return recorded


def test_text_shows_runs_jobs_and_queues(busy: Recorded, redis_server: RedisServer) -> None:
    shown = status(redis_server.url)
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = [line.split() for line in shown.stdout.splitlines()]
    running = next(row for row in rows if row[:1] == ["data:process"])
    assert running[2:9] == ["running", "12", "4", "2", "4", "2", "1"]
    assert next(row for row in rows if row[:1] == ["data:sync"])[2:4] == ["failed", "(4)"]
    assert next(row for row in rows if row[:1] == ["data:copy"])[2] == "completed"
    assert next(row for row in rows if row[:1] == ["default"]) == ["default", "4", "2", "2"]
    assert "\x1b" not in shown.stdout


def test_json_is_one_document(busy: Recorded, redis_server: RedisServer) -> None:
    shown = status(redis_server.url, "--format", "json")
    document = json.loads(shown.stdout)
    [running] = document["running"]
    assert running["command"] == "data:process"
    jobs = ("jobs", "pending", "processing", "completed", "failed", "retried")
    assert [running[name] for name in jobs] == [12, 4, 2, 4, 2, 1]
    assert [row["exit_code"] for row in document["finished"]] == [0, 4]
    assert (document["running_total"], document["finished_total"]) == (1, 2)
    assert document["queues"] == {"default": {"pending": 4, "processing": 2, "failed": 2}}


def test_a_pipe_gets_whole_rows_and_days(recorded: Recorded, redis_server: RedisServer) -> None:
    name = "data:" + "x" * 55
    recorded.run(name, started_at=time.time() - 90_030).end()
    shown = status(redis_server.url)
    [row] = [line.split() for line in shown.stdout.splitlines() if line.startswith(name)]
    assert row[2] == "completed"
    assert row[-4:] == ["1", "d", "01", "h"]


def test_an_empty_store_says_so(store: RedisServer) -> None:
    shown = status(store.url)
    assert shown.returncode == 0
    assert "Running: no command" in shown.stdout
    assert "Queues: none seen yet" in shown.stdout


def test_without_redis_it_ends_with_69() -> None:
    for options in ((), ("--watch",), ("--format", "json")):
        shown = status("redis://127.0.0.1:1/0", *options)
        assert shown.returncode == 69
        assert shown.stdout == ""
        assert shown.stderr.startswith("jobmon status: Redis cannot be reached")


def test_watching_as_json_is_refused(store: RedisServer) -> None:
    shown = status(store.url, "--watch", "--format", "json")
    assert shown.returncode == 2
    assert "--watch" in shown.stderr


def test_watching_follows_the_store_and_ends_cleanly(own_redis_server: RedisServer) -> None:
    recorded = Recorded(own_redis_server)
    recorded.run("data:first")
    master, terminal = pty.openpty()
    watching = subprocess.Popen(
        [*COMMAND, "--watch"],
        env={**environment(REDIS_URL=own_redis_server.url), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = Screen(master)
    try:
        seen.wait_for("data:first")
        recorded.run("data:second")
        seen.wait_for("data:second")
        own_redis_server.stop()
        seen.wait_for("Redis does not answer")
        own_redis_server.start()
        recorded.run("data:third")
        seen.wait_for("data:third")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
        assert "Traceback" not in seen.text
        assert "\x1b[?25h" in seen.rest(), "the cursor is back"
    finally:
        watching.kill()
        watching.wait()
        os.close(master)
        recorded.close()


class Screen:
    """What a program wrote to its terminal."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.text = ""

    def wait_for(self, what: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while what not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text):
            assert time.monotonic() < deadline, f"never seen: {what} in {self.text[-2000:]!r}"
            self._read(0.1)

    def rest(self) -> str:
        while self._read(0.2):
            pass
        return self.text

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            some = os.read(self._master, 65536)
        except OSError:
            return False
        self.text += some.decode("utf-8", "replace")
        return bool(some)
