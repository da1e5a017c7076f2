"""The periodic work of servers: who does it, when, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.analysis.rounds import Rounds
from jobmon.history.schema import tables
from jobmon.model import Outcome
from jobmon.server.migration import Migration
from jobmon.server.work import Work
from jobmon.settings import load
from jobmon.store.keys import LEADER
from jobmon.store.reader import Reader
from jobmon.store.sync_state import SyncState
from tests.analysis.evaluated import evaluated
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.filled import filled
from tests.proxy import Proxy
from tests.serving import Recorded, Served, environment, until

pytestmark = pytest.mark.live

TABLES = tables("")


def state(recorded: Recorded) -> SyncState:
    with recorded.client() as client:
        return Reader(client, recorded.settings).sync_state()


def leader(recorded: Recorded) -> int | None:
    """Its process id."""
    holder = state(recorded).holders[LEADER]
    return None if holder is None else holder.pid


def make_due(recorded: Recorded, minutes: int) -> None:
    """As if the last pass had begun that much earlier."""
    with recorded.client() as client:
        client.hincrby("jobmon:totals:sync", "began_ms", -minutes * 60_000)


def rows(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


# Who makes it is settled in Redis: one kind of database tells.
@pytest.mark.parametrize("own_database", ["postgresql"], indirect=True)
def test_of_two_servers_one_makes_each_pass(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    where = {"DATABASE_URL": own_database.url, "SYNC_INTERVAL_MINUTES": "7"}
    recorded.run().jobs(3, Outcome.COMPLETED)
    with Served(store.url, **where) as one, Served(store.url, "--no-http", **where) as other:
        until(lambda: state(recorded).rows.get("job_metrics") == 3, 60)
        until(lambda: state(recorded).succeeded_at is not None)
        recorded.run().jobs(2, Outcome.COMPLETED)
        make_due(recorded, 7)
        until(lambda: state(recorded).rows.get("job_metrics") == 5, 60)
        until(lambda: state(recorded).unsynced == 0)
        first, second = (server.logged().count(" jobs in ") for server in (one, other))
    assert first + second == 2
    with own_database.engine() as engine:
        assert rows(engine, TABLES.job_metrics) == 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_without_http_it_works_all_the_same_and_ends_cleanly(
    number: int, code: int, recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    recorded.run().jobs(2, Outcome.FAILED)
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        with Served(store.url, "--no-http", DATABASE_URL=one.url) as server:
            assert server.headline == "jobmon works, and listens nowhere"
            until(lambda: rows(engine, TABLES.failed_jobs) == 2)
            assert leader(recorded) == server.process.pid
            assert server.stop(number) == code
        assert leader(recorded) is None
        assert "Traceback" not in server.log_at_end


def test_without_http_there_is_no_address_to_listen_on(store: RedisServer) -> None:
    ended = subprocess.run(
        [*(sys.executable, "-m", "jobmon.cli.main", "serve"), "--no-http", "--listen", "x:1"],
        env=environment(REDIS_URL=store.url),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "not allowed with argument" in ended.stderr


@pytest.mark.parametrize(
    ("options", "settings", "why"),
    [
        (["--no-schedule"], {}, "--no-schedule"),
        ([], {"ENVIRONMENT": "testing"}, "environment is testing"),
        ([], {"SYNC_ENABLED": "false"}, "sync.enabled is false"),
    ],
)
def test_who_does_not_sync_copies_failures_and_says_why(
    options: list[str],
    settings: dict[str, str],
    why: str,
    recorded: Recorded,
    store: RedisServer,
    tmp_path: Path,
) -> None:
    recorded.run().jobs(2, Outcome.FAILED)
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        with Served(store.url, "--no-http", *options, DATABASE_URL=one.url, **settings) as server:
            until(lambda: rows(engine, TABLES.failed_jobs) == 2)
            assert server.stop() == 143
        assert f"this server does not sync by itself: {why}\n" in server.log_at_end
        assert rows(engine, TABLES.job_metrics) == 0
    assert state(recorded).began_at is None
    given = {name.lower().replace("sync_", "sync."): value for name, value in settings.items()}
    own = load({"redis.url": store.url, "database.url": one.url, **given}, environ={})
    rounds = Rounds(own)
    work = Work(own, Migration(own), rounds, scheduled=not options)
    rounds.close()
    assert "jobmon-sync" not in {thread.name for thread in work._threads}


def test_the_server_that_leads_forgets_series_that_are_idle(
    recorded: Recorded, store: RedisServer
) -> None:
    recorded.run("idle").end()
    recorded.run("runs")
    recorded.run("new").end()
    with recorded.client() as client:
        idle_since = time.time() * 1000 - 31 * 86_400_000
        for name in ("idle", "runs"):
            number = client.hget("jobmon:series:commands", name)
            client.zadd("jobmon:series:seen", {b"commands:" + number: idle_since})
        reader = Reader(client, recorded.settings)
        with Served(store.url, "--no-http", "--no-schedule"):
            until(lambda: {one.command for one in reader.totals().commands} == {"runs", "new"}, 60)


def test_a_server_that_ends_hands_over_at_once(recorded: Recorded, store: RedisServer) -> None:
    with Served(store.url, "--no-http") as one:
        until(lambda: leader(recorded) == one.process.pid)
        with Served(store.url, "--no-http") as other:
            one.stop()
            # Sooner than the lease would have ended.
            until(lambda: leader(recorded) == other.process.pid, 8)
        assert "this server leads" in other.log_at_end


def test_a_store_that_was_flushed_has_a_leader_again(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    recorded = Recorded(own_redis_server)
    with (
        made("sqlite", tmp_path) as one,
        one.engine() as engine,
        Served(own_redis_server.url, "--no-http", DATABASE_URL=one.url) as server,
    ):
        until(lambda: leader(recorded) == server.process.pid)
        own_redis_server.restart()
        recorded.run().jobs(1, Outcome.FAILED)
        until(lambda: leader(recorded) == server.process.pid)
        until(lambda: rows(engine, TABLES.failed_jobs) == 1)
    recorded.close()


def test_a_database_that_comes_back_gets_what_waited(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    patient = {"SYNC_RETRY_ATTEMPTS": "0"}
    with made("postgresql", tmp_path) as one, one.engine() as engine:
        way = Proxy(one.url, 5432)
        port = int(way.url.rpartition(":")[2].partition("/")[0])
        with Served(store.url, "--no-http", DATABASE_URL=way.url, **patient) as server:
            recorded.run().jobs(1, Outcome.FAILED)
            until(lambda: rows(engine, TABLES.failed_jobs) == 1)
            way.close()
            recorded.run().jobs(2, Outcome.FAILED)
            until(lambda: "failures are not copied" in server.logged())
            assert rows(engine, TABLES.failed_jobs) == 1
            way = Proxy(one.url, 5432, port)
            until(lambda: rows(engine, TABLES.failed_jobs) == 3, 30)
            assert "Traceback" not in server.logged()
        way.close()


@contextmanager
def seen(engine: sa.Engine) -> Iterator[dict[str, float]]:
    """When each failed job was first seen in the database, by its id."""
    found: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            with engine.connect() as connection:
                ids: Any = connection.scalars(sa.select(TABLES.failed_jobs.c.uuid)).all()
            now = time.monotonic()
            for one in ids:
                found.setdefault(one, now)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@pytest.mark.clock
def test_a_failed_job_is_in_its_table_within_2_s(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    failed_at: dict[str, float] = {}
    with (
        Served(
            store.url, "--no-http", DATABASE_URL=own_database.url, SYNC_ENABLED="false"
        ) as server,
        own_database.engine() as engine,
        seen(engine) as found,
    ):
        until(lambda: leader(recorded) == server.process.pid)
        began = time.monotonic()
        paced = threading.Event()
        for number in range(200):
            paced.wait(max(0.0, began + number / 50 - time.monotonic()))
            (job_id,) = run.jobs(1, Outcome.FAILED)
            failed_at[job_id] = time.monotonic()
        until(lambda: len(found) == 200)
    waits = sorted(found[job_id] - at for job_id, at in failed_at.items())
    assert waits[197] <= 2.0, waits[-10:]


def test_what_is_not_normal_is_found_and_told_unasked(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    with made("sqlite", tmp_path) as one, filled(one) as history:
        for n in range(20, 0, -1):
            history.run("data:process", jobs=100, seconds=50.0, ago=n * 3600.0)
        run = history.run("data:process", jobs=100, seconds=150.0, ago=60)
        with Served(store.url, DATABASE_URL=one.url) as server:
            with store.client() as client:
                until(lambda: client.xlen("jobmon:anomalies:events") == 1, 60)
            (found,) = server.data("anomalies")["anomalies"]["data"]
            assert (found["process_id"], found["state"]) == (run, "open")
            # What is judged once is not judged again, by this server or its successor.
            began = float(recorded_began(store))
        with Served(store.url, DATABASE_URL=one.url), store.client() as client:
            until(lambda: float(recorded_began(store)) > began, 60)
            assert client.xlen("jobmon:anomalies:events") == 1


def test_a_run_that_beat_should_have_started_is_missed_until_one_starts(
    store: RedisServer, tmp_path: Path
) -> None:
    with made("sqlite", tmp_path) as one, evaluated(one, store) as fleet:
        for ago in (420, 360, 300):
            fleet.run("report", ago=ago, seconds=1.0, source="schedule")
        fleet.scheduler({"name": "report", "schedule": "every 60 s", "timezone": "UTC"})
        with Served(store.url, DATABASE_URL=one.url):
            until(lambda: fleet.turns() == [("opened", "missed_execution")], 60)
            fleet.start("report")
            until(lambda: [state for state, _ in fleet.turns()] == ["opened", "resolved"], 60)
            assert fleet.incidents()[0]["resolution"] == "started"


def recorded_began(store: RedisServer) -> bytes:
    with store.client() as client:
        found = client.hget("jobmon:totals:analysis", "began_ms")
    assert isinstance(found, bytes)
    return found
