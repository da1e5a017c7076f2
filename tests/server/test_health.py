"""``health`` on a live server, while Redis works, is gone, and hangs."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.conftest import RedisServer
from tests.serving import METRICS, READ, TOKENS, Served, bearer, until

pytestmark = pytest.mark.live

SKIPPED = {"database": {"status": "skipped"}, "metrics_freshness": {"status": "skipped"}}


def test_it_is_healthy_while_redis_answers(served: Served, store: RedisServer) -> None:
    answer = served.get("health")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["success", "data"]
    assert body["success"] is True
    assert list(body["data"]) == ["status", "timestamp", "checks"]
    assert body["data"]["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["data"]["timestamp"])
    redis = body["data"]["checks"].pop("redis")
    assert body["data"]["checks"] == SKIPPED
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
        timed_out = {"status": "unhealthy", "message": "Timed out"}
        assert answer.json()["data"]["checks"] == {"redis": timed_out, **SKIPPED}

        own_redis_server.stop()
        failed = {"status": "unhealthy", "message": "Connection failed"}
        until(lambda: server.get("health").json()["data"]["checks"]["redis"] == failed)
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
        checks = client.info("commandstats")["cmdstat_ping"]["calls"] - before
        assert checks <= time.monotonic() - began + 1


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
            checks = server.get("health", headers=headers).json()["data"]["checks"]
            assert checks == {"redis": {"status": "healthy"}, **SKIPPED}
        checks = server.get("health", headers=bearer(READ)).json()["data"]["checks"]
        assert "response_time" in checks["redis"]
        assert server.get("health", headers=bearer("nope")).status_code == 401
        assert server.get("stats").status_code == 401
