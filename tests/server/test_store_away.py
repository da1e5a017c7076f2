"""A live server whose store is away: every answer is bounded, fixed and JSON."""

from __future__ import annotations

import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import made
from tests.filled import filled
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live

UNAVAILABLE = {"status": "error", "message": "Service unavailable."}
RUN = uuid.UUID(int=7)
STATUS_STYLE = ("stats", "commands/running", "commands/finished", f"commands/{RUN}/jobs")


def away(server: Served) -> None:
    for path in STATUS_STYLE:
        answer = server.get(path)
        assert (answer.status_code, answer.json()) == (503, UNAVAILABLE)
        assert answer.headers["retry-after"] == "5"
    answer = server.get(f"commands/{RUN}")
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "message": "Failed to retrieve command",
        "error": "Internal server error",
    }
    answer = server.client.get("/metrics")
    assert answer.status_code == 503
    assert answer.json() == {
        "success": False,
        "message": "Service unavailable.",
        "error": "Service Unavailable",
    }
    assert server.client.get("/metrics/self").status_code == 200


def test_nothing_listens() -> None:
    with Served("redis://:hunter2@127.0.0.1:1/0", REDIS_RETRY_INTERVAL="0") as server:
        away(server)
        assert server.get("nope").status_code == 404
        assert "hunter2" not in server.logged()


def test_it_refuses(own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.acl_setuser(
            "default",
            enabled=True,
            nopass=True,
            reset_keys=True,
            keys=["other*"],
            categories=["+@all"],
        )
    with Served(own_redis_server.url) as server:
        away(server)


def test_what_the_history_knows_is_shown_all_the_same(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    with made("sqlite", tmp_path) as one, filled(one) as history:
        run = history.run(jobs=1)
        (job,) = history.jobs(1, process_id=run)
        with Served(own_redis_server.url, DATABASE_URL=one.url) as server:
            own_redis_server.stop()
            assert server.data(f"commands/{run}")["counters"]["job_count"] == 1
            for path in (f"jobs/{job}", f"jobs/{job}?process_id={run}"):
                shown = server.data(path)
                assert (shown["process_id"], shown["status"]) == (run, "completed")
            assert server.get(f"jobs/{uuid.uuid4()}").status_code == 500
            assert server.get(f"commands/{RUN}").status_code == 500


def test_it_hangs_and_comes_back(own_redis_server: RedisServer) -> None:
    recorded = Recorded(own_redis_server)
    recorded.run().jobs(2, Outcome.COMPLETED)
    with Served(own_redis_server.url, REDIS_TIMEOUT="0.3") as server:
        assert len(server.data("commands/running")) == 1
        assert own_redis_server.process is not None
        own_redis_server.process.send_signal(signal.SIGSTOP)
        away(server)
        with ThreadPoolExecutor(80) as pool:
            # More than the server has threads: all of them wait for Redis.
            asked = [pool.submit(server.get, "stats") for _ in range(80)]
            began = time.monotonic()
            assert server.client.get("/livez").status_code == 200
            assert server.client.get("/metrics/self").status_code == 200
            assert time.monotonic() - began < 4
            assert {one.result().status_code for one in asked} == {503}
        own_redis_server.process.send_signal(signal.SIGCONT)
        until(lambda: server.get("stats").status_code == 200)
        assert len(server.data("commands/running")) == 1
    recorded.close()


def test_what_cannot_be_understood_is_left_out(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    good = run.job(Outcome.COMPLETED)
    with recorded.client() as client:
        for name, value in {
            "list": "[]",
            "broken": "{",
            "bytes": b"\xff\xfe",
            "nan": '{"command":"x","started_at":NaN}',
            "far": '{"command":"x","started_at":1e300,"arguments":[],"pid":"7","host":3}',
            "surrogate": '{"command":"x\\ud800","started_at":"soon","exit_code":"x"}',
        }.items():
            client.hset("jobmon:commands:running", name, value)
            client.hset(f"jobmon:command:{run.id}:jobs", name, value)
            client.hset("jobmon:commands:finished", name, value)
            client.zadd("jobmon:commands:finished:by-time", {name: time.time() * 1000 + 60_000})
        client.hset("jobmon:totals:jobs", "1:started", "many")
        client.hset("jobmon:series:jobs", "only two\x1flabels", "99")
    running = served.data("commands/running")
    assert run.id in {one["id"] for one in running}
    for one in running:
        assert isinstance(one["arguments"], dict)
        assert isinstance(one["id"], str)
    for one in served.data("commands/finished"):
        assert isinstance(one["exit_code"], int)
    assert good in {one["id"] for one in served.data(f"commands/{run.id}/jobs")}
    for path in ("stats", "health", f"commands/{run.id}"):
        assert served.get(path).status_code == 200
    assert served.client.get("/metrics").status_code == 200
