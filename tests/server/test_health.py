"""``health`` on a live server, while Redis and the database work, are gone, and hang."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.history.copied import copies
from tests.proxy import Proxy
from tests.serving import METRICS, READ, TOKENS, Recorded, Served, bearer, until

pytestmark = pytest.mark.live

WELL = {"database": {"status": "healthy"}, "metrics_freshness": {"status": "healthy"}}
TIMED_OUT = {"status": "unhealthy", "message": "Timed out"}
FAILED = {"status": "unhealthy", "message": "Connection failed"}


def checks(server: Served) -> Any:
    return server.get("health").json()["data"]["checks"]


def test_it_is_healthy_while_redis_answers(served: Served, store: RedisServer) -> None:
    answer = served.get("health")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["success", "data"]
    assert body["success"] is True
    assert list(body["data"]) == ["status", "timestamp", "checks", "sync"]
    assert body["data"]["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["data"]["timestamp"])
    redis = body["data"]["checks"].pop("redis")
    assert body["data"]["checks"] == WELL
    assert redis["status"] == "healthy"
    assert 0 <= redis["response_time"] < 2


def test_redis_gone_hanging_and_back(own_redis_server: RedisServer) -> None:
    with Served(own_redis_server.url, HEALTH_CHECK_REDIS_TIMEOUT="0.5") as server:
        until(lambda: server.get("health").status_code == 200)
        assert own_redis_server.process is not None
        own_redis_server.process.send_signal(signal.SIGSTOP)
        until(lambda: server.get("health").status_code == 503)
        began = time.monotonic()
        answer = server.get("health")
        assert time.monotonic() - began < 1.0
        assert answer.json()["success"] is False
        assert answer.json()["data"]["status"] == "unhealthy"
        assert answer.json()["data"]["checks"]["redis"] == TIMED_OUT
        assert answer.json()["data"]["checks"]["database"] == WELL["database"]
        assert answer.json()["data"]["sync"] is None

        own_redis_server.stop()
        until(lambda: checks(server)["redis"] == FAILED)
        assert "127.0.0.1" not in server.get("health").text
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/readyz").json() == {"success": True}

        own_redis_server.start()
        until(lambda: server.get("health").status_code == 200)


def test_callers_within_a_second_share_one_check(store: RedisServer) -> None:
    with Served(store.url) as server, store.client() as client:
        until(lambda: server.get("health").status_code == 200)
        before = client.info("commandstats")["cmdstat_ping"]["calls"]
        began = time.monotonic()
        for _ in range(20):
            server.get("health")
        asked = client.info("commandstats")["cmdstat_ping"]["calls"] - before
        assert asked <= time.monotonic() - began + 1


def test_switched_off_it_is_not_found_and_the_probes_stay(store: RedisServer) -> None:
    with Served(store.url, HEALTH_CHECK_ENABLED="false") as server:
        answer = server.get("health")
        assert answer.status_code == 404
        assert answer.json() == {"success": False, "message": "Not found.", "error": "Not Found"}
        for path in ("/livez", "/readyz"):
            assert server.client.get(path).json() == {"success": True}
            assert server.client.head(path).status_code == 200


def test_public_it_shows_a_stranger_states_alone(store: RedisServer) -> None:
    with Served(store.url, HEALTH_CHECK_PUBLIC="true", AUTH_TOKENS=TOKENS) as server:
        for headers in ({}, bearer(METRICS)):
            data = server.get("health", headers=headers).json()["data"]
            assert data["checks"] == {"redis": {"status": "healthy"}, **WELL}
            assert "sync" not in data
        data = server.get("health", headers=bearer(READ)).json()["data"]
        assert "response_time" in data["checks"]["redis"]
        assert "sync" in data
        assert server.get("health", headers=bearer("nope")).status_code == 401
        assert server.get("stats").status_code == 401


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_database_gone_and_back(kind: str, store: RedisServer, tmp_path: Path) -> None:
    with made(kind, tmp_path) as one:
        way = Proxy(one.url, 5432 if kind == "postgresql" else 3306)
        port = int(way.url.rpartition(":")[2].partition("/")[0])
        with Served(store.url, DATABASE_URL=way.url, HEALTH_CHECK_DB_TIMEOUT="1") as server:
            until(lambda: server.get("health").status_code == 200)
            way.close()
            until(lambda: checks(server)["database"] == FAILED)
            answer = server.get("health")
            assert answer.status_code == 503
            assert "127.0.0.1" not in answer.text
            assert checks(server)["redis"]["status"] == "healthy"
            assert server.client.get("/readyz").status_code == 200
            way = Proxy(one.url, 5432 if kind == "postgresql" else 3306, port)
            until(lambda: server.get("health").status_code == 200)
        way.close()


def test_a_database_that_hangs_costs_its_timeout(store: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=6"
        bounds = {"HEALTH_CHECK_DB_TIMEOUT": "0.3", "HEALTH_CHECK_REDIS_TIMEOUT": "0.4"}
        with Served(store.url, DATABASE_URL=url, **bounds) as server:
            began = time.monotonic()
            answer = server.get("health")
            assert time.monotonic() - began < 4
            assert answer.status_code == 503
            assert answer.json()["data"]["checks"]["database"] == TIMED_OUT
            assert answer.json()["data"]["checks"]["redis"]["status"] == "healthy"


def test_metrics_that_are_too_old_are_unhealthy_and_none_at_all_are_not(
    own_redis_server: RedisServer, own_database: Database
) -> None:
    store, recorded = own_redis_server, Recorded(own_redis_server)
    with (
        closing(recorded),
        copies(store, own_database, environment="testing") as history,
        Served(store.url, "--no-schedule", DATABASE_URL=own_database.url) as server,
    ):
        assert server.get("health").status_code == 200
        run = recorded.run()
        run.job(Outcome.COMPLETED)
        run.end()
        two_days = 48 * 3600 * 1_000_000
        waiting = history.client.zrange("jobmon:unsynced", 0, -1, withscores=True)
        for member, version in waiting:
            history.client.zadd("jobmon:unsynced", {member: version - two_days})
        too_old = {"status": "unhealthy", "message": "Metrics are older than 24 hours"}
        until(lambda: checks(server)["metrics_freshness"] == too_old)
        assert server.get("health").status_code == 503
        history.sync()
        until(lambda: server.get("health").status_code == 200)
        with history.engine.begin() as connection:
            for table, column in (
                (history.tables.command_metrics, "updated_at"),
                (history.tables.job_metrics, "created_at"),
            ):
                old = datetime.now(UTC) - timedelta(hours=25)
                connection.execute(sa.update(table).values({column: old}))
        until(lambda: checks(server)["metrics_freshness"] == too_old)
    for settings in ({"SYNC_ENABLED": "false"}, {"HEALTH_CHECK_MAX_METRICS_AGE_HOURS": "0"}):
        with Served(store.url, DATABASE_URL=own_database.url, **settings) as server:
            assert checks(server)["metrics_freshness"] == {"status": "skipped"}


def test_it_tells_how_far_the_history_is_behind(own_redis_server: RedisServer) -> None:
    store, recorded = own_redis_server, Recorded(own_redis_server)
    recorded.run().jobs(2, Outcome.FAILED)
    recorded.close()
    with recorded.client() as client:
        client.hset("jobmon:totals:recorder", mapping={"dropped:overflow": 2, "dropped:full": 1})
    with Served(store.url, "--no-schedule") as server:
        until(lambda: server.get("health").json()["data"]["sync"]["failures_waiting"] == 0)
        found = server.get("health").json()["data"]["sync"]
    assert (found["unsynced"], found["dropped_transitions"], found["dead_letters"]) == (1, 3, 0)
    assert found["lag_seconds"] > 0
    assert found["last_success_at"] is None
    assert found["leads_since"] is not None
