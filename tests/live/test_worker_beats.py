"""Workers of both engines say that they live, and what they run: their main processes alone."""

from __future__ import annotations

import json
import platform
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live import rq_fixtures
from tests.live.celery_fixtures import (
    Signals,
    celery_worker,
    command,
    wait_for,
)
from tests.live.rq_fixtures import CLASSES, SETTINGS, rq_worker
from tests.live.scheduler_fixtures import running

pytestmark = pytest.mark.live

INTERVAL = 0.2
EVERY = {"JOB_MONITOR_BEATS_INTERVAL_SECONDS": str(INTERVAL)}


def workers(server: RedisServer) -> list[dict[str, Any]]:
    with server.client() as client:
        found: Any = client.hvals("jobmon:workers")
    return [json.loads(one) for one in found]


def one(server: RedisServer) -> dict[str, Any] | None:
    found = workers(server)
    return found[0] if len(found) == 1 else None


def calls_with_beats(server: RedisServer, seconds: float) -> int:
    """Calls that carried beats of workers, within so many seconds."""
    count = 0
    with server.client(socket_timeout=1) as client, client.monitor() as monitor:
        until = time.monotonic() + seconds
        for said in monitor.listen():
            if time.monotonic() > until:
                break
            name, _, keys = said["command"].partition(" ")
            count += name.upper().startswith("EVAL") and "jobmon:workers:beats" in keys
    return count


def started(kind: str, server: RedisServer, folder: Path) -> AbstractContextManager[Any]:
    if kind in CLASSES:
        return rq_worker(server, folder, kind=kind, **EVERY)
    return celery_worker(server, folder, pool=kind, **EVERY)


@pytest.mark.parametrize("kind", ["prefork", "solo", "threads", "gevent", "fork", "simple"])
def test_a_worker_is_there_from_its_start_to_its_end(
    kind: str, store: RedisServer, tmp_path: Path
) -> None:
    of_rq = kind in CLASSES
    with started(kind, store, tmp_path) as worker:
        own = wait_for(lambda: one(store), "registered")
        assert next(iter(own)) == "engine"  # what the reaper counts by
        assert (own["engine"], own["pool"]) == ("rq" if of_rq else "celery", kind)
        assert (own["hostname"], own["pid"]) == (platform.node(), worker.process.pid)
        assert (own["app"], own["beats_every"]) == ("default", INTERVAL)
        assert own["resident_memory_bytes"] > 1_000_000
        assert abs(own["started_at"] - time.time()) < 60
        # Celery's queues and slots are known a moment later.
        own = wait_for(
            lambda: (found := one(store)) and found["queues"] and found["slots"] and found,
            "told its queues and slots",
        )
        assert own["queues"] == ["work" if of_rq else "celery"]
        assert own["slots"] == (1 if of_rq or kind == "solo" else 2)
        assert (own["busy"], own["running"]) == (0, [])
        # Nothing but one call an interval, whatever else it does.
        assert 1 <= calls_with_beats(store, 10 * INTERVAL) <= 11
        if of_rq:
            run = rq_fixtures.command(store, "queue.enqueue(jobs.held, 'x')")
        else:
            run = command(store, "held.delay('x')")
        Signals(store).wait_at("x")
        busy = wait_for(lambda: (found := one(store)) and found["busy"] and found, "busy")
        (member,) = busy["running"]
        assert member.startswith(f"{run}/")
        assert busy["pid"] == worker.process.pid
        Signals(store).go("x")
        wait_for(lambda: (found := one(store)) and not found["busy"], "idle again")
        worker.stop()
        assert workers(store) == []


def test_each_worker_of_a_pool_beats_for_itself(store: RedisServer, tmp_path: Path) -> None:
    options = ["-m", "rq.cli", "worker-pool", "-c", SETTINGS, "-n", "2", "work"]
    with running(store, tmp_path, options, **EVERY) as pool:
        wait_for(lambda: len(workers(store)) == 2, "two workers")
        found = workers(store)
        assert len({one["pid"] for one in found} - {pool.process.pid}) == 2
        # Before that, whoever is told to stop may not yet handle the signal.
        wait_for(lambda: pool.log.count("cleaning registries") >= 2, "both at work")
        pool.stop()
        wait_for(lambda: not workers(store), "both gone")


def test_a_burst_leaves_nothing_behind(store: RedisServer, tmp_path: Path) -> None:
    with rq_worker(store, tmp_path, "--burst", ready=False, **EVERY) as worker:
        worker.wait()
    assert workers(store) == []
    with store.client() as client:
        assert not client.exists("jobmon:workers:beats")
