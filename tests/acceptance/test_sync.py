"""From Redis into the database: acceptance lines S24 to S31, by processes of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import Database
from tests.history.copied import Copies, copies
from tests.proxy import Proxy
from tests.serving import Recorded, Run
from tests.syncing import PORTS, begun, contents, ended, lives, started

pytestmark = pytest.mark.live
on_sqlite = pytest.mark.parametrize("own_database", ["sqlite"], indirect=True)
"""What depends on the command line alone; tests/history copies into each kind of database."""

TABLES = ("command_metrics", "job_metrics", "job_attempts", "failed_jobs")


def everything(history: Copies) -> dict[str, list[dict[str, Any]]]:
    return {name: history.rows(name) for name in TABLES}


def marks(store: RedisServer) -> dict[str, Any]:
    """Of all that is unsynced, so that it can be marked again."""
    with store.client() as client:
        names = ("unsynced", "failures")
        return {n: dict(client.zrange(f"jobmon:{n}", 0, -1, withscores=True)) for n in names}


def mark(store: RedisServer, runs: list[Run], scores: dict[str, Any]) -> None:
    with store.client() as client:
        for name, found in scores.items():
            client.zadd(f"jobmon:{name}", found)
        for run in runs:
            ids = client.hkeys(f"jobmon:command:{run.id}:jobs")
            client.rpush(f"jobmon:command:{run.id}:unsynced", f"1:{len(ids)}", *ids)


def filled(recorded: Recorded, runs: int = 4) -> list[Run]:
    made = [recorded.run(f"data:{at}") for at in range(runs)]
    for at, run in enumerate(made):
        run.jobs(9 * at, Outcome.COMPLETED, seconds=0.125)
        run.jobs(2, Outcome.FAILED, seconds=0.25)
        run.end()
    return made


def test_s24_sync_copies_a_run_with_its_counters(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("data:process", started_at=1_754_265_599.5)  # half a second before midnight
    run.jobs(3, Outcome.COMPLETED, seconds=0.5)
    run.jobs(1, Outcome.FAILED, seconds=0.25)
    run.jobs(1, Outcome.LOST)
    run.end()
    assert ended(store, own_database.url, verb="metrics:sync").returncode == 0
    with copies(store, own_database) as history:
        (row,) = history.rows("command_metrics")
        with store.client() as client:
            counters = client.hgetall(f"jobmon:command:metrics:data:process:{run.id}")
    for name in ("job_count", "success_jobs", "failed_jobs", "lost_jobs", "peak_memory"):
        assert row[name] == int(counters[name.encode()])
    assert (row["process_id"], row["command_name"]) == (run.id, "data:process")
    assert (row["job_count"], row["success_jobs"], row["failed_jobs"]) == (5, 3, 2)
    assert row["total_time"] == pytest.approx(float(counters[b"total_job_time"]))
    assert row["avg_job_time"] == pytest.approx(row["total_time"] / row["job_count"])
    assert row["run_date"].isoformat() == "2025-08-03"
    assert row["started_at"] == datetime.fromtimestamp(1_754_265_599.5, UTC)


def test_s25_twice_or_two_at_once_give_identical_rows(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    runs = filled(recorded)
    scores = marks(store)
    with copies(store, own_database) as history:
        assert ended(store, own_database.url).returncode == 0
        once = everything(history)
        assert [len(rows) for rows in once.values()] == [4, 9 * 6 + 8, 0, 8]
        assert ended(store, own_database.url).returncode == 0
        assert everything(history) == once
        mark(store, runs, scores)
        both = [started(store, own_database.url, "--force", "--batch-size=3") for _ in range(2)]
        said = [process.communicate(timeout=90) for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert everything(history) == once


@on_sqlite
def test_s26_a_dry_run_changes_nothing_and_counts_what_it_would_copy(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    filled(recorded)
    with copies(store, own_database) as history:
        before, lived = contents(store), lives(store)
        said = ended(store, own_database.url, "--dry-run", "--cleanup", "--format=json")
        would = json.loads(said.stdout)
        assert said.returncode == 0
        assert contents(store) == before
        assert all(left <= lived[key] for key, left in lives(store).items())
        assert not any(everything(history).values())
        did = json.loads(ended(store, own_database.url, "--format=json").stdout)
    assert would["dry_run"] is True
    for name in ("runs", "jobs", "failed_jobs", "skipped", "errors"):
        assert would[name] == did[name]
    assert (did["runs"], did["jobs"], did["failed_jobs"]) == (4, 62, 8)


@on_sqlite
def test_s27_disabled_it_writes_nothing_and_says_so_forced_it_copies(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    filled(recorded)
    with copies(store, own_database) as history:
        before = contents(store)
        said = ended(store, own_database.url, SYNC_ENABLED="false")
        assert (said.returncode, said.stdout) == (0, "")
        assert said.stderr.startswith("Sync is disabled (sync.enabled=false).")
        assert contents(store) == before
        assert not any(everything(history).values())
        assert ended(store, own_database.url, "--force", SYNC_ENABLED="false").returncode == 0
        assert len(history.rows("command_metrics")) == 4


@on_sqlite
def test_s28_every_batch_size_gives_the_same_rows_and_others_are_refused(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    runs = filled(recorded)
    scores = marks(store)
    found: list[dict[str, Any]] = []
    with copies(store, own_database) as history:
        for size in ("1", "500", "10000"):
            assert ended(store, own_database.url, "--batch-size", size).returncode == 0
            found.append(everything(history))
            with history.engine.begin() as connection:
                for name in TABLES:
                    connection.execute(getattr(history.tables, name).delete())
            mark(store, runs, scores)
    assert len(found[0]["job_metrics"]) == 62
    versions = [[row.pop("version") for rows in one.values() for row in rows] for one in found]
    assert all(all(some) for some in versions)
    # These records tell no end, which is then that of their version.
    assert all(row.pop("finished_at") for one in found for row in one["job_metrics"])
    assert found[0] == found[1] == found[2]
    for size in ("0", "10001", "x"):
        assert ended(store, own_database.url, "--batch-size", size).returncode == 2


@on_sqlite
def test_s29_cleanup_removes_only_what_has_ended_is_copied_and_is_old_enough(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    done, undone = recorded.run("done"), recorded.run("open")
    for run in (done, undone):
        run.jobs(3, Outcome.COMPLETED)
        run.jobs(1, Outcome.FAILED)
    undone.jobs(1)
    done.end()
    undone.end()

    def keys(run: Run) -> int:
        with store.client() as client:
            return len(list(client.scan_iter(f"jobmon:command:*{run.id}*")))

    kept = ended(store, own_database.url, "--cleanup")
    assert "Cleanup: 0 records removed." in kept.stdout
    assert keys(done) > 0
    (late,) = recorded.run("late").jobs(1, Outcome.COMPLETED)
    now = {"SYNC_CLEANUP_AFTER_HOURS": "0"}
    again = recorded.run("again")
    again.jobs(2, Outcome.FAILED)
    again.end()
    said = ended(store, own_database.url, "--cleanup", SYNC_CLEANUP_ENABLED="0", **now)
    assert "Cleanup: 6 records removed." in said.stdout
    assert (keys(done), keys(again)) == (0, 0)
    assert keys(undone) > 0
    with copies(store, own_database) as history:
        assert late in {row["job_id"] for row in history.rows("job_metrics")}
        assert len(history.rows("command_metrics")) == 4
        assert len(history.rows("failed_jobs")) == 4


@pytest.mark.parametrize("own_database", ["postgresql", "mysql"], indirect=True)
def test_s30_a_database_that_goes_away_is_tried_again_then_exit_69_and_the_next_goes_on(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    for _ in range(20):
        run.jobs(10, Outcome.COMPLETED)
    proxy = Proxy(own_database.url, PORTS[own_database.kind])
    try:
        with copies(store, own_database) as history:
            process = begun(store, history, proxy)
            copied = len(history.rows("job_metrics"))
            proxy.close()
            out, err = process.communicate(timeout=90)
            assert (process.returncode, out) == (69, "")
            tried = [line for line in err.splitlines() if "tried again in" in line]
            assert len(tried) == 2
            assert "in 1 s, 2 times" in tried[0]
            assert "in 2 s, 1 times" in tried[1]
            assert err.splitlines()[-1].startswith("jobmon sync: the database did not take ")
            assert 0 < copied <= len(history.rows("job_metrics")) < 200
            assert ended(store, own_database.url).returncode == 0
            assert len(history.rows("job_metrics")) == 200
            (row,) = history.rows("command_metrics")
            assert row["job_count"] == row["success_jobs"] == 200
    finally:
        proxy.close()


@on_sqlite
def test_s31_time_and_memory_stop_a_sync_after_a_whole_batch_and_the_next_goes_on(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    for _ in range(5):
        run.jobs(10, Outcome.COMPLETED)
    with copies(store, own_database) as history:
        late = {"SYNC_TIMEOUT_SECONDS": "5", "SYNC_CHUNK_DELAY_MS": "2000"}
        said = ended(store, own_database.url, "--batch-size=10", **late)
        assert said.returncode == 0
        assert said.stderr.startswith("Stopped early: sync.timeout_seconds (5) have passed.")
        first = len(history.rows("job_metrics"))
        assert first in (20, 30, 40)
        for _ in range(20):
            run.jobs(200, Outcome.COMPLETED)
        pad = b'{"status":"completed","attempt":1,"pad":"%b"}' % (b"x" * 16_000)
        with store.client() as client:
            client.hset(
                f"jobmon:command:{run.id}:jobs",
                mapping=dict.fromkeys(client.hkeys(f"jobmon:command:{run.id}:jobs"), pad),
            )
        said = ended(store, own_database.url, "--batch-size=3000", SYNC_MAX_MEMORY_MB="32")
        assert said.returncode == 0
        assert "MiB more (sync.max_memory_mb)" in said.stderr
        second = len(history.rows("job_metrics"))
        assert first < second < 4050
        assert ended(store, own_database.url).returncode == 0
        assert len(history.rows("job_metrics")) == 4050
        assert len(history.rows("command_metrics")) == 1
