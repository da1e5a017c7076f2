"""Acceptance lines of the server's periodic work and its health: S32, S37, S38."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history.schema import tables
from jobmon.model import Outcome
from jobmon.store.reader import Reader
from jobmon.store.sync_state import SyncState
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.proxy import Proxy
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live

OWN = tables("")


def state(recorded: Recorded) -> SyncState:
    with recorded.client() as client:
        return Reader(client, recorded.settings).sync_state()


def ended_run(recorded: Recorded) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED)
    run.end()


def counted(engine: sa.Engine, table: sa.Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_s32_every_interval_one_of_two_servers_syncs(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    where = {"DATABASE_URL": own_database.url, "SYNC_INTERVAL_MINUTES": "2"}
    ended_run(recorded)  # before any server: the first pass may be at once
    with (
        Served(store.url, **where) as one,
        Served(store.url, **where) as other,
        own_database.engine() as engine,
    ):
        for passes in (1, 2, 3):
            until(lambda want=passes: logged_passes(one) + logged_passes(other) == want, 60)
            assert counted(engine, OWN.command_metrics) == passes
            ended_run(recorded)
            with recorded.client() as client:  # as if two minutes had gone by
                client.hincrby("jobmon:totals:sync", "began_ms", -120_000)


def logged_passes(server: Served) -> int:
    return server.logged().count("INFO jobmon.serve: synced ")


def test_s32_testing_schedules_nothing(
    recorded: Recorded, store: RedisServer, tmp_path: Path
) -> None:
    ended_run(recorded)
    recorded.run().jobs(1, Outcome.FAILED)
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        with Served(store.url, DATABASE_URL=one.url, ENVIRONMENT="testing") as server:
            until(lambda: counted(engine, OWN.failed_jobs) == 1)
            until(lambda: "does not sync by itself: environment is testing" in server.logged())
        assert counted(engine, OWN.command_metrics) == 0
    assert state(recorded).began_at is None


def test_s37_health_has_three_checks_and_is_503_without_redis(
    own_redis_server: RedisServer,
) -> None:
    with Served(own_redis_server.url) as server:
        answer = server.get("health")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["success"], body["data"]["status"]) == (True, "healthy")
        assert {name: check["status"] for name, check in body["data"]["checks"].items()} == {
            "redis": "healthy",
            "database": "healthy",
            "metrics_freshness": "healthy",
        }
        own_redis_server.stop()
        until(lambda: server.get("health").status_code == 503)
        began = time.monotonic()
        answer = server.get("health")
        assert time.monotonic() - began < 2.5
        body = answer.json()
        assert (body["success"], body["data"]["status"]) == (False, "unhealthy")
        assert body["data"]["checks"]["redis"] == {
            "status": "unhealthy",
            "message": "Connection failed",
        }
        for name in ("127.0.0.1", "localhost", str(own_redis_server.port)):
            assert name not in answer.text


def test_s38_health_is_503_without_the_database(store: RedisServer, tmp_path: Path) -> None:
    with made("postgresql", tmp_path) as one:
        way = Proxy(one.url, 5432)
        with Served(store.url, DATABASE_URL=way.url) as server:
            assert server.get("health").status_code == 200
            way.close()
            until(lambda: server.get("health").status_code == 503)
            answer = server.get("health")
            checks: Any = answer.json()["data"]["checks"]
            assert checks["redis"]["status"] == "healthy"
            assert checks["database"] == {"status": "unhealthy", "message": "Connection failed"}
            for text in ("127.0.0.1", "postgres", "psycopg"):
                assert text not in answer.text


def test_s38_health_is_503_for_metrics_that_are_too_old_and_200_before_the_first(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    where = {"DATABASE_URL": own_database.url, "HEALTH_CHECK_MAX_METRICS_AGE_HOURS": "3"}
    with Served(store.url, **where) as server, own_database.engine() as engine:
        assert server.get("health").status_code == 200
        ended_run(recorded)
        until(lambda: state(recorded).succeeded_at is not None, 60)
        until(lambda: counted(engine, OWN.command_metrics) == 1)
        old = datetime.now(UTC) - timedelta(hours=3, minutes=1)
        with engine.begin() as connection:
            connection.execute(sa.update(OWN.command_metrics).values(updated_at=old))
            connection.execute(sa.update(OWN.job_metrics).values(created_at=old))
        until(lambda: server.get("health").status_code == 503)
        checks = server.get("health").json()["data"]["checks"]
        assert checks["metrics_freshness"] == {
            "status": "unhealthy",
            "message": "Metrics are older than 3 hours",
        }
        assert checks["database"] == {"status": "healthy"}
