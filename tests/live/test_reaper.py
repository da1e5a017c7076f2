"""Processes that die without a word are seen by real servers; those that only paused are not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobmon.model import RunTransition
from jobmon.settings import load
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.instrument.script import Script
from tests.live import rq_fixtures
from tests.live.celery_fixtures import Run, Signals, celery_worker, command, wait_for
from tests.live.rq_fixtures import rq_worker
from tests.serving import Served

pytestmark = pytest.mark.live

INTERVAL, SILENCE = 0.2, 3.0
EVERY = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": str(INTERVAL)}
LOST = {"REAPER_LOST_AFTER_SECONDS": str(SILENCE), "BEATS_INTERVAL_SECONDS": str(INTERVAL)}
RUN = "import jobmon\nwith jobmon.command({!r}) as run:\n    say(run.id)\n    wait()\n"


class Store:
    """What a server's store holds, and programs that record into it."""

    def __init__(self, server: RedisServer, stack: ExitStack) -> None:
        self.server = server
        self._stack = stack

    def script(self, text: str) -> Script:
        """Start a program."""
        one = Script(text, self.server.url, **EVERY)
        self._stack.callback(one.close)
        return one

    def running(self) -> set[str]:
        """Ids of open runs."""
        with self.server.client() as client:
            found: Any = client.hkeys("jobmon:commands:running")
        return {one.decode() for one in found}

    def finished(self, run_id: str) -> dict[str, Any] | None:
        """A run that ended."""
        with self.server.client() as client:
            found: Any = client.hget("jobmon:commands:finished", run_id)
        return json.loads(found) if found else None

    def number(self, key: str, field: str) -> int:
        """A number in one of the store's hashes."""
        with self.server.client() as client:
            return int(client.hget(f"jobmon:{key}", field) or 0)  # type: ignore[arg-type]

    def last_beat(self, run_id: str) -> float:
        """Of an open run, in Unix seconds."""
        with self.server.client() as client:
            return (client.zscore("jobmon:runs:beats", run_id) or 0.0) / 1000  # type: ignore[operator]

    def lost_runs(self, command: str) -> int:
        """Runs of a command that were counted as lost."""
        with self.server.client() as client:
            series: Any = client.hget("jobmon:series:commands", command)
        return self.number("totals:commands", f"{int(series)}:runs:lost") if series else 0

    def wait_until_judged(self) -> None:
        """Wait until somebody who has listened for long enough has made another pass."""

        def judged() -> bool:
            since, at = (self.number("store:meta", f"watched_{one}") for one in ("since", "at"))
            return at - since >= SILENCE * 1000

        wait_for(judged, "somebody judges", 60)
        passed = self.number("store:meta", "watched_at")
        wait_for(lambda: self.number("store:meta", "watched_at") > passed, "another pass")


@pytest.fixture
def store_of() -> Iterator[Callable[[RedisServer], Store]]:
    with ExitStack() as stack:
        yield lambda server: Store(server, stack)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    with open(f"/proc/{pid}/stat") as file:
        wait_for(lambda: file.seek(0) or file.read().rpartition(") ")[2][0] == "T", "stopped")


def test_who_died_is_lost_once_and_who_paused_is_taken_back(
    store: RedisServer, store_of: Callable[[RedisServer], Store], tmp_path: Path
) -> None:
    kept = store_of(store)
    folders = [tmp_path / name for name in ("celery", "rq")]
    for folder in folders:
        folder.mkdir()
    with (
        Served(store.url, **LOST) as first,
        Served(store.url, **LOST) as second,
        ExitStack() as workers,
    ):
        celery = workers.enter_context(celery_worker(store, folders[0], pool="threads", **EVERY))
        rq = workers.enter_context(rq_worker(store, folders[1], **EVERY))
        scripts = {name: kept.script(RUN.format(name)) for name in ("killed", "paused", "alive")}
        scripts["left"] = kept.script(RUN.format("left") + "    os._exit(0)\n")
        ids = {name: script.said() for name, script in scripts.items()}
        settings = load({"redis.url": store.url}, environ={})
        with store.client() as client:
            old = RunTransition("old", "old", "running", "", 1, 0, 0, b'{"id":"old","command":"c"}')
            Writer(client, settings).apply([old])
        wait_for(lambda: all(kept.last_beat(one) for one in ids.values()), "all beat")
        wait_for(lambda: kept.number("totals:recorder", "transitions"), "recorded")

        in_celery = Run(store, command(store, "held.delay('in-celery')"))
        in_rq = Run(store, rq_fixtures.command(store, "queue.enqueue(jobs.held, 'in-rq')"))
        for name in ("in-celery", "in-rq"):
            Signals(store).wait_at(name)
        for job in (in_celery, in_rq):
            job.reached(1, {"processing"})

        os.kill(celery.process.pid, signal.SIGKILL)
        os.kill(rq.process.pid, signal.SIGKILL)
        scripts["killed"].process.kill()
        scripts["left"].go()
        scripts["left"].process.wait(30)
        stop(scripts["paused"].process.pid)
        last_beats = {name: kept.last_beat(ids[name]) for name in ("killed", "left", "paused")}

        for name, last in last_beats.items():
            run = wait_for(lambda name=name: kept.finished(ids[name]), f"{name} is lost", 60)
            assert (run["exit_code"], run["outcome"]) == (-1, "lost")
            # A beat that was on its way when it died may have arrived after we looked.
            assert last <= run["finished_at"] <= last + 2 * INTERVAL + 1
            assert kept.lost_runs(name) == 1
        shown = {run["command"]: run for run in first.data("commands/finished")}
        assert {name: shown[name]["exit_code"] for name in last_beats} == dict.fromkeys(
            last_beats, -1
        )
        assert first.data(f"commands/{ids['killed']}")["status"] == "lost"
        assert kept.running() == {ids["alive"], "old"}
        wait_for(
            lambda: (
                [kept.number("totals:recorder", f"workers_lost:{one}") for one in ("celery", "rq")]
                == [1, 1]
            ),
            "both workers are lost",
        )
        for job in (in_celery, in_rq):
            job.reached(1, {"lost"})
            job.check_counters()
        Signals(store).go("in-rq")  # RQ's horse lives on without its worker
        in_rq.reached(1, {"completed"})
        in_rq.check_counters()
        down = {(one["engine"], one["pid"], one["state"]) for one in first.data("workers")}
        assert down == {
            ("celery", celery.process.pid, "down"),
            ("rq", rq.process.pid, "down"),
        }

        scripts["paused"].process.send_signal(signal.SIGCONT)
        wait_for(lambda: ids["paused"] in kept.running(), "taken back")
        assert kept.finished(ids["paused"]) is None
        scripts["paused"].go()
        scripts["alive"].go()
        for name in ("paused", "alive"):
            assert scripts[name].end()[0] == 0
            assert (kept.finished(ids[name]) or {})["exit_code"] == 0
        kept.wait_until_judged()
        assert kept.running() == {"old"}
        assert [kept.lost_runs(name) for name in scripts] == [1, 1, 0, 1]
        metrics = second.client.get("/metrics").text
        assert (
            'jobmon_command_runs_total{app="default",command="paused",outcome="lost"} 1' in metrics
        )
        assert 'command="paused",outcome="completed"} 1' in metrics
        assert [one.stop() for one in (first, second)] == [143, 143]
        assert "Traceback" not in first.log_at_end + second.log_at_end


@pytest.mark.parametrize("blind", ["store", "server"])
def test_nobody_is_lost_for_a_time_in_which_nobody_listened(
    blind: str, own_redis_server: RedisServer, store_of: Callable[[RedisServer], Store]
) -> None:
    kept = store_of(own_redis_server)
    with Served(own_redis_server.url, **LOST) as server:
        script = kept.script(RUN.format("paused"))
        dead = kept.script(RUN.format("dead"))
        run_id, dead_id = script.said(), dead.said()
        wait_for(lambda: kept.last_beat(run_id) and kept.last_beat(dead_id), "both beat")
        kept.wait_until_judged()
        stop(script.process.pid)  # so that it cannot beat before it is judged, as it might not
        dead.process.kill()
        assert own_redis_server.process is not None
        paused = own_redis_server.process if blind == "store" else server.process
        paused.send_signal(signal.SIGSTOP)
        time.sleep(SILENCE + 0.5)
        paused.send_signal(signal.SIGCONT)
        resumed = time.time()
        wait_for(lambda: kept.number("store:meta", "watched_at") > resumed * 1000, "a pass")
        wait_for(lambda: kept.number("store:meta", "watched_at") > resumed * 1000 + 500, "more")
        assert kept.running() == {run_id, dead_id}
        script.process.send_signal(signal.SIGCONT)
        run = wait_for(lambda: kept.finished(dead_id), "the dead one is lost", 60)
        assert run["finished_at"] < resumed - SILENCE + 0.5
        assert time.time() - resumed > SILENCE - 0.5
        assert kept.running() == {run_id}
        assert (kept.lost_runs("paused"), kept.lost_runs("dead")) == (0, 1)
        script.go()
        assert script.end()[0] == 0


def test_runs_outlive_a_store_that_lost_all(
    own_redis_server: RedisServer, store_of: Callable[[RedisServer], Store]
) -> None:
    kept = store_of(own_redis_server)
    with Served(own_redis_server.url, **LOST) as server:
        script = kept.script(RUN.format("alive"))
        run_id = script.said()
        wait_for(lambda: kept.last_beat(run_id), "it beats")
        own_redis_server.stop()
        wait_for(lambda: "nobody is taken for lost" in server.logged(), "said once")
        own_redis_server.start()
        kept.wait_until_judged()
        assert kept.running() == {run_id}
        assert server.logged().count("nobody is taken for lost") == 1
        script.go()
        assert script.end()[0] == 0
        assert (kept.finished(run_id) or {})["exit_code"] == 0
