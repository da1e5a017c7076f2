"""RQ's schedulers as they run: alive by their loops; each entry of ``rq cron`` fires a run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobmon.store import schedules
from tests.conftest import RedisServer
from tests.live.rq_fixtures import Run, command, rq_worker, wait_for
from tests.live.scheduler_fixtures import Known, Process, running

pytestmark = pytest.mark.live

BEATS = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": "0.2"}
JOBS = "tests.live.apps.rq_jobs"


@pytest.fixture
def known(store: RedisServer) -> Iterator[Known]:
    reading = Known(store)
    yield reading
    reading.client.close()


@contextmanager
def rq_cron(server: RedisServer, folder: Path, **env: str) -> Iterator[Process]:
    """``rq cron`` with entries that fire each second."""
    url = server.url.rsplit("/", 1)[0] + "/1"
    arguments = ["-m", "rq.cli", "cron", "tests.live.apps.rq_cron_config", "--url", url]
    with running(server, folder, arguments, **env) as process:
        yield process


if find_spec("rq.cron") is not None:  # new in RQ 2.4

    def test_an_entry_fires_runs_that_begin_and_end_with_their_root_jobs(
        store: RedisServer, known: Known, tmp_path: Path
    ) -> None:
        name = f"{JOBS}.add"
        with rq_cron(store, tmp_path) as process:
            waiting = known.run(name, lambda run: "sent_at" in run)
            assert "started_at" not in waiting
            with rq_worker(store, tmp_path):
                ended = known.run(name, lambda run: run["id"] == waiting["id"] and "outcome" in run)
            moments = [ended[f"{what}_at"] for what in ("due", "sent", "started", "finished")]
            assert moments == sorted(moments)
            assert (ended["source"], ended["kind"], ended["schedule"], ended["exit_code"]) == (
                *("schedule", "cron", "every 1 s"),
                0,
            )
            run = Run(store, ended["id"], name=name)
            assert run.one()["id"] == waiting["root_job_id"] == ended["root_job_id"]
            run.check_counters()
            one = known.scheduler(lambda one: one.up and one.entries == 1)
            assert (one.engine, one.kind, one.name) == ("rq", "cron", "rq cron")
            assert one.pid == process.process.pid
            entry = known.entry(name, lambda one: one.last_run_id is not None)
            assert (entry.state, entry.queue, entry.job_name) == ("ok", "work", name)
            assert entry.next_due_at is not None
            process.stop(signal.SIGINT)
        wait_for(lambda: not known.schedules().schedulers, "a clean end")
        assert known.entry(name).state == "down"

    def test_the_end_of_a_root_job_is_that_of_its_run(
        store: RedisServer, known: Known, tmp_path: Path
    ) -> None:
        entries = "fail,kill_itself,vanish"
        with rq_worker(store, tmp_path), rq_cron(store, tmp_path, TEST_ENTRIES=entries):
            failed = known.run(f"{JOBS}.fail")
            assert (failed["outcome"], failed["exit_code"]) == ("failed", 1)
            for name in ("kill_itself", "vanish"):
                lost = known.run(f"{JOBS}.{name}")
                assert (lost["outcome"], lost["exit_code"], lost["status"]) == ("lost", -1, "lost")
                assert lost["started_at"] >= lost["sent_at"]

    def test_a_cron_whose_loop_stands_still_is_down_though_its_process_lives(
        store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(schedules, "SILENT_SECONDS", 2.0)
        signals = store.client(db=3)
        with rq_cron(store, tmp_path, TEST_ENTRIES="", TEST_BLOCKS="1") as process:
            known.scheduler(lambda one: one.up and one.entries == 1)
            signals.set("stand-still", 1)
            wait_for(lambda: signals.exists("stands-still"), "a loop that stands still")
            known.scheduler(lambda one: not one.up)
            assert process.process.poll() is None
            signals.delete("stand-still")
            known.scheduler(lambda one: one.up)


def test_the_scheduler_of_a_worker_is_seen_with_its_queues_and_what_is_due(
    store: RedisServer, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SILENT_SECONDS", 3.0)
    run = command(
        store,
        """
        from datetime import timedelta
        queue.enqueue_in(timedelta(hours=1), add, 1, 1)
        queue.enqueue_in(timedelta(seconds=1), add, 2, 2)
        """,
    )
    due_at = time.time() + 3600
    with rq_worker(store, tmp_path, "--with-scheduler", **BEATS) as worker:
        one = known.scheduler(lambda one: one.up and one.queues == ("work",))
        assert (one.engine, one.kind, one.entries) == ("rq", "scheduled", 0)
        assert one.pid != worker.process.pid
        far = known.scheduler(lambda one: one.next_due_at is not None)
        assert far.next_due_at is not None
        statuses = wait_for(
            lambda: (
                sorted(job["status"] for job in Run(store, run).jobs().values())
                == ["completed", "pending"]
            ),
            "the job that was due, in the run it was published in",
        )
        assert statuses
        assert Run(store, run).counters()["job_count"] == "2"
        os.kill(one.pid, signal.SIGSTOP)
        assert known.scheduler(lambda one: not one.up).id == one.id
        assert worker.process.poll() is None
        os.kill(one.pid, signal.SIGCONT)
        known.scheduler(lambda one: one.up)
        said = json.loads(known.client.hget("jobmon:schedulers", one.id))
        assert said["queues"] == ["work"]
        assert said["next_due_at"] <= due_at + 1
        worker.stop()
    wait_for(lambda: not known.schedules().schedulers, "a clean end")
