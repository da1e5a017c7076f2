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
    with rq_worker(store, tmp_path, "--burst", ready=False) as worker:
        run = Run(store, command(store, "for _ in range(20): queue.enqueue(jobs.nest_and_die)"))
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
        worker.process.send_signal(signal.SIGTERM)
        # RQ takes two signals within a second for one.
        wait_for(lambda: _ends_at_the_next_signal(worker.process), "cold shutdown", 20)
        (job,) = run.ended(1).values()
    assert job["outcome"] == "lost"
    run.check_counters()


def _ends_at_the_next_signal(process: object) -> bool:
    if process.poll() is None:  # type: ignore[attr-defined]
        process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
    return process.poll() is not None  # type: ignore[attr-defined]


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
    run = Run(store, command(store, "for n in range(20): queue.enqueue(jobs.add, n)"))
    assert len(run.reached(20, {"pending"})) == 20
    with rq_worker(store, tmp_path, "--burst", ready=False, kind=kind) as worker:
        worker.wait()
        assert {job["outcome"] for job in run.jobs().values()} == {"completed"}
    run.check_counters()


def test_a_frozen_store_holds_no_job_up(
    store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    state = {"JOB_MONITOR_REDIS_URL": own_redis_server.url}
    assert own_redis_server.process is not None
    with rq_worker(store, tmp_path, **state) as worker:
        first = Run(own_redis_server, command(store, "queue.enqueue(jobs.add, 1)", **state))
        first.ended(1)
        own_redis_server.process.send_signal(signal.SIGSTOP)
        try:
            # The command itself leaves after its shutdown timeout, with what it could not write.
            ids = produce(
                store,
                """
                print(json.dumps([queue.enqueue(jobs.add, n).id for n in range(20)]))
                """,
                **state,
            )
            produce(
                store,
                f"""
                from rq.job import Job
                import time
                deadline = time.monotonic() + 20
                for job in Job.fetch_many({ids!r}, connection=connection):
                    while not job.is_finished:
                        assert time.monotonic() < deadline
                        time.sleep(0.01)
                """,
                **state,
            )
            assert worker.stop() < 2 + 2
        finally:
            own_redis_server.process.send_signal(signal.SIGCONT)


def test_after_a_frozen_store_all_that_the_worker_saw_is_there(
    store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    state = {"JOB_MONITOR_REDIS_URL": own_redis_server.url}
    signals = Signals(store)
    assert own_redis_server.process is not None
    with rq_worker(store, tmp_path, **state) as worker:
        run = Run(
            own_redis_server,
            command(
                store,
                """
                queue.enqueue(jobs.held, "frozen")
                for n in range(20): queue.enqueue(jobs.add, n)
                """,
                **state,
            ),
        )
        signals.wait_at("frozen")
        run.reached(21, {"pending", "processing"})
        own_redis_server.process.send_signal(signal.SIGSTOP)
        try:
            signals.go("frozen")
            wait_for(lambda: worker.log.count("Job OK") == 21, "21 jobs ran")
        finally:
            own_redis_server.process.send_signal(signal.SIGCONT)
        run.ended(21)
    run.check_counters()
