"""Horses and workers of RQ that end without a word, and what is said of their jobs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import (
    CLASSES,
    FORKING,
    Run,
    Signals,
    command,
    produce,
    rq_worker,
    wait_for,
)

pytestmark = pytest.mark.live

CLEAN_UP = """
import time
from rq.registry import StartedJobRegistry
StartedJobRegistry("work", connection=connection).cleanup(time.time() + 100_000)
"""


@pytest.mark.parametrize("kind", FORKING)
def test_a_killed_horse_leaves_its_job_lost(store: RedisServer, tmp_path: Path, kind: str) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path, kind=kind):
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'killed')"))
        horse = signals.wait_at("killed")
        (before,) = run.reached(1, {"processing"}).values()
        os.kill(horse, signal.SIGKILL)
        (job,) = run.ended(1).values()
    assert (job["status"], job["outcome"], job["attempt"]) == ("lost", "lost", 1)
    assert job["started_at"] == pytest.approx(before["started_at"], abs=0.002)
    assert job["worker"] == before["worker"]
    assert job["error"]["class"] == "WorkerLost"
    assert "signal 9" in job["error"]["message"]
    assert job["memory_usage"] > 1 << 20
    run.check_counters()


@pytest.mark.parametrize("kind", FORKING)
def test_a_killed_horse_with_retries_left_is_retried(
    store: RedisServer, tmp_path: Path, kind: str
) -> None:
    with rq_worker(store, tmp_path, kind=kind):
        run = Run(
            store,
            command(store, "queue.enqueue(jobs.kill_itself_once, 'once', retry=Retry(max=1))"),
        )
        (job,) = run.ended(1).values()
    assert (job["outcome"], job["attempt"]) == ("completed", 2)
    (earlier,) = run.attempts(job["id"])
    assert (earlier["status"], earlier["outcome"]) == ("retrying", "retried")
    assert earlier["error"]["class"] == "WorkerLost"
    run.check_counters()


@pytest.mark.parametrize("kind", FORKING)
@pytest.mark.parametrize("leave", ["vanish", "leave, 3"])
def test_a_horse_that_exits_by_itself_is_lost(
    store: RedisServer, tmp_path: Path, kind: str, leave: str
) -> None:
    with rq_worker(store, tmp_path, kind=kind):
        run = Run(store, command(store, f"queue.enqueue(jobs.{leave})"))
        (job,) = run.ended(1).values()
    assert job["outcome"] == "lost"
    assert job["error"]["class"] == "WorkerLost"
    run.check_counters()


def test_what_a_horse_recorded_arrives_though_it_was_killed_in_the_next_instant(
    store: RedisServer, tmp_path: Path
) -> None:
    run = Run(store, command(store, "for _ in range(20): queue.enqueue(jobs.nest_and_die)"))
    with rq_worker(store, tmp_path, "--burst", ready=False) as worker:
        worker.wait()
        run.ended(40)
    assert [job["outcome"] for job in run.named("nest_and_die")] == ["lost"] * 20
    assert [job["outcome"] for job in run.named("add")] == ["completed"] * 20
    run.check_counters()


def test_a_horse_that_outlives_its_worker_says_itself_how_its_job_ended(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path) as worker:
        run = Run(store, command(store, "queue.enqueue(jobs.held_and_nest, 'orphan')"))
        horse = signals.wait_at("orphan")
        run.reached(1, {"processing"})
        worker.stop(signal.SIGKILL)
        signals.go("orphan")
        wait_for(lambda: not Path(f"/proc/{horse}").exists(), "the horse ended")
        jobs = run.reached(2, {"completed", "pending"})
    assert sorted(job["status"] for job in jobs.values()) == ["completed", "pending"]
    (job,) = run.named("held_and_nest")
    assert job["outcome"] == "completed"
    run.check_counters()


def test_an_abandoned_job_is_lost_until_its_horse_turns_up(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path) as worker:
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'abandoned')"))
        horse = signals.wait_at("abandoned")
        worker.stop(signal.SIGKILL)
        produce(store, CLEAN_UP)
        (lost,) = run.reached(1, {"lost"}).values()
        assert lost["error"]["class"] == "WorkerLost"
        assert lost["worker"]
        assert int(run.counters()["failed_jobs"]) == 1
        run.check_counters()
        signals.go("abandoned")
        wait_for(lambda: not Path(f"/proc/{horse}").exists(), "the horse ended")
        (job,) = run.reached(1, {"completed"}).values()
    assert job["attempt"] == 1
    assert int(run.counters()["failed_jobs"]) == 0
    run.check_counters()


def test_an_abandoned_job_with_retries_left_is_a_further_attempt(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path) as worker:
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'again', retry=Retry(max=1))"))
        horse = signals.wait_at("again")
        worker.stop(signal.SIGKILL)
        os.kill(horse, signal.SIGKILL)
    produce(store, CLEAN_UP)
    (waiting,) = run.reached(1, {"pending"}).values()
    assert waiting["attempt"] == 2
    (earlier,) = run.attempts(waiting["id"])
    assert earlier["status"] == "retrying"
    signals.go("again")
    with rq_worker(store, tmp_path, "--burst", ready=False):
        (job,) = run.ended(1).values()
    assert (job["outcome"], job["attempt"]) == ("completed", 2)
    run.check_counters()


def test_a_cold_shutdown_leaves_the_job_lost(store: RedisServer, tmp_path: Path) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path) as worker:
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'cold')"))
        signals.wait_at("cold")
        worker.stop_cold()
        (job,) = run.ended(1).values()
    assert job["outcome"] == "lost"
    run.check_counters()


def test_a_stopped_job_is_revoked_not_lost(store: RedisServer, tmp_path: Path) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path):
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'stopped', job_id='stop-me')"))
        signals.wait_at("stopped")
        produce(
            store,
            """
            from rq.command import send_stop_job_command
            send_stop_job_command(connection, "stop-me")
            """,
        )
        (job,) = run.ended(1).values()
    assert (job["status"], job["outcome"]) == ("revoked", "revoked")
    assert "error" not in job
    counters = run.counters()
    assert (counters["revoked_jobs"], counters["failed_jobs"]) == ("1", "0")


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_burst_worker_leaves_nothing_unwritten(
    store: RedisServer, tmp_path: Path, kind: str
) -> None:
    number = 5 if kind == "spawn" else 20  # an interpreter for each
    run = Run(store, command(store, f"for n in range({number}): queue.enqueue(jobs.add, n)"))
    assert len(run.reached(number, {"pending"})) == number
    with rq_worker(store, tmp_path, "--burst", ready=False, kind=kind) as worker:
        worker.wait()
        assert len(run.jobs()) == number
        assert {job["outcome"] for job in run.jobs().values()} == {"completed"}
    run.check_counters()
