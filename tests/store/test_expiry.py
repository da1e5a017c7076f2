"""A run's keys live and die together, for as long as its state says."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.writer import Writer
from tests.store.histories import FUTURE_MS, NOW_MS, RUNS, run_transition, transition
from tests.store.reference import expiries

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
OWN = KEYS.of("p1")
METRICS = OWN.metrics(RUNS["p1"])
ALL = [OWN.jobs, METRICS, OWN.attempts, OWN.unsynced]


def ttl(client: Any) -> int:
    """Seconds that the run's keys have left; all of them the same."""
    instants = {one for one in expiries(client, ALL) if one != -2}
    assert len(instants) == 1
    return round(instants.pop() / 1000 - time.time())


def test_expiry_follows_the_state_of_the_run(store: RedisServer) -> None:
    with store.client() as client:
        writer = Writer(client, Settings())
        writer.apply([run_transition("p1", "running")])
        assert ttl(client) == 86_400
        writer.apply([transition("p1", "a", Status.PENDING), transition("p1", "b", Status.PENDING)])
        assert ttl(client) == 86_400 or client.hget(METRICS, "latest_ready_ms")
        writer.apply([run_transition("p1", "completed")])
        assert ttl(client) >= 86_399
        writer.apply([transition("p1", "a", Status.COMPLETED)])
        writer.apply([transition("p1", "b", Status.COMPLETED)])
        assert ttl(client) == 3_600
        writer.apply([transition("p1", "c", Status.FAILED)])
        assert ttl(client) == 172_800
        writer.apply([transition("p1", "c", Status.COMPLETED, 2)])
        assert ttl(client) == 3_600


def test_a_job_with_an_eta_keeps_its_run_until_it_can_run(store: RedisServer) -> None:
    with store.client() as client:
        writer = Writer(client, Settings())
        writer.apply([transition("p1", "a", Status.PENDING, at_ms=FUTURE_MS)])
        until = round(FUTURE_MS / 1000 + 86_400 - time.time())
        assert abs(ttl(client) - until) <= 1
        writer.apply([transition("p1", "b", Status.PROCESSING)])
        assert abs(ttl(client) - until) <= 1
        # A clock that is wrong by centuries keeps nothing for centuries.
        writer.apply([transition("p1", "c", Status.PENDING, at_ms=FUTURE_MS * 9)])
        assert ttl(client) < 370 * 86_400


def test_the_keys_of_a_run_vanish_in_one_instant(store: RedisServer) -> None:
    brief = replace(Settings(), tracking_ttl=1, completed_ttl=1, failed_ttl=1)
    with store.client() as client:
        writer = Writer(client, brief)
        for at in range(20):
            job = f"job{at}"
            writer.apply([transition("p1", job, Status.PENDING, at_ms=NOW_MS)])
            writer.apply([transition("p1", job, Status.COMPLETED, 2)])
        deadline = time.monotonic() + 5
        while True:
            pipeline = client.pipeline()
            for name in ALL:
                pipeline.exists(name)
            alive = sum(pipeline.execute())
            assert alive in (0, len(ALL))
            if alive == 0:
                break
            assert time.monotonic() < deadline


def test_a_late_job_of_an_expired_run_makes_it_partial(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([run_transition("p1", "running"), transition("p1", "a", Status.PENDING)])
        assert _counters(reader).partial is False
        born = client.hget(METRICS, "born")
        client.delete(*ALL)
        writer.apply([transition("p1", "a", Status.COMPLETED)])
        assert _counters(reader).partial is True
        assert client.hget(METRICS, "born") != born


def test_a_start_that_a_worker_overtook_is_not_partial(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([transition("p1", "a", Status.PROCESSING)])
        assert _counters(reader).partial is True
        writer.apply([run_transition("p1", "running")])
        assert _counters(reader).partial is False


def _counters(reader: Reader) -> Any:
    found = reader.run_counters("p1", RUNS["p1"])
    assert found is not None
    return found


def test_old_entries_of_the_indexes_are_trimmed_and_counted(store: RedisServer) -> None:
    long_ago_ms = NOW_MS - (172_800 + 3_600) * 1000 - 100_000
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        client.zadd(KEYS.unsynced, {"old1": long_ago_ms * 1000, "old2": long_ago_ms * 1000})
        client.zadd(KEYS.drained, {"old1": long_ago_ms * 1000})
        client.zadd(KEYS.failed, {"old1/job": long_ago_ms})
        client.zadd(KEYS.failures, {"old1/job": long_ago_ms * 1000})
        writer.apply(
            [
                run_transition("p1", "running"),
                transition("p1", "a", Status.FAILED),
                run_transition("p1", "failed"),
            ]
        )
        assert client.zrange(KEYS.unsynced, 0, -1) == [METRICS.encode()]
        assert client.zrange(KEYS.drained, 0, -1) == [b"p1"]
        assert client.zrange(KEYS.failed, 0, -1) == [b"p1/a"]
        assert client.zrange(KEYS.failures, 0, -1) == [b"p1/a"]
        assert reader.totals().sync.expired_unsynced == 2
        assert client.hget(KEYS.recorder_totals, "expired_failures") == b"1"


def test_jobs_whose_records_are_long_gone_leave_the_gauges(store: RedisServer) -> None:
    long_ago_ms = NOW_MS - (172_800 + 3_600) * 1000 - 100_000
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([transition("p1", "a", Status.PENDING)])
        client.zadd(KEYS.pending(1), {"old1/a": long_ago_ms, "old1/b": NOW_MS - 1000})
        client.zadd(KEYS.open_runs, {KEYS.of("old1").metrics("gone"): NOW_MS - 1000})
        writer.apply([transition("p1", "b", Status.PENDING)])
        members = client.zrange(KEYS.pending(1), 0, -1)
        assert sorted(members) == [b"old1/b", b"p1/a", b"p1/b"]
        assert client.zrange(KEYS.open_runs, 0, -1) == [OWN.metrics(RUNS["p1"]).encode()]
        assert [one.open_jobs for one in reader.totals().commands] == [2]


def test_finished_runs_age_out_by_entry(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for at, status in enumerate(("completed", "failed", "completed")):
            run = run_transition("p1", status, at)._replace(process_id=f"run{at}")
            writer.apply([run])
        client.zadd(KEYS.finished_by_time, {"run0": NOW_MS})
        assert [run.process_id for run in reader.finished_commands()[0]] != []
        assert {run.process_id for run in reader.finished_commands()[0]} == {"run1", "run2"}
        writer.apply([run_transition("p1", "completed")])
        assert set(client.hkeys(KEYS.finished)) == {b"run1", b"run2", b"p1"}
        ends = dict(client.zrange(KEYS.finished_by_time, 0, -1, withscores=True))
        assert abs(ends[b"run1"] / 1000 - time.time() - 172_800) < 2
        assert abs(ends[b"run2"] / 1000 - time.time() - 3_600) < 2


def test_at_most_so_many_finished_runs_are_kept(store: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr("jobmon.store.call.MOST_FINISHED_RUNS", 3)
    with store.client() as client:
        writer = Writer(client, Settings())
        for at in range(6):
            run = run_transition("p1", "completed", at)._replace(process_id=f"run{at}")
            writer.apply([run])
        assert client.hlen(KEYS.finished) == client.zcard(KEYS.finished_by_time) == 3
        assert client.hexists(KEYS.finished, "run5")
