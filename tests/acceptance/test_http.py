"""The HTTP side against a live server: S39, S53-S56, S70, S71, S80-S82, S86, S90."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid

import httpx
import pytest

from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.serving import (
    METRICS,
    OPERATE,
    PREFIX,
    READ,
    TOKENS,
    Recorded,
    Served,
    bearer,
    environment,
    until,
)

pytestmark = pytest.mark.live

T2 = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
NASTY = "evil\r\n2026-01-01 FAKE\x1b[31m\x9b2J\u2028\u202e<script>alert(1)</script>"


def serve(*options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``jobmon serve`` where it is to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "serve", *options],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_s39_stats_counts_jobs_per_queue(own_redis_server: RedisServer) -> None:
    # A store of its own: the server that leads counts, and it alone knows its database.
    recorded = Recorded(own_redis_server)
    run = recorded.run()
    run.jobs(3)
    for job_id in run.jobs(1, queue="mail"):
        recorded.write(run.transition(job_id, Status.PROCESSING, Stage.STARTED, queue="mail"))
    run.jobs(2, Outcome.FAILED)
    run.jobs(1, Outcome.TIMED_OUT, queue="mail")
    run.jobs(4, Outcome.COMPLETED)
    recorded.close()
    with Served(own_redis_server.url, QUEUES="idle,default") as server:
        until(lambda: server.data("stats")["total_failed"] == 3)
        answer = server.get("stats")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "data": {
            "total_failed": 3,
            "queues": {
                "default": {"pending": 3, "processing": 0, "failed": 2},
                "idle": {"pending": 0, "processing": 0, "failed": 0},
                "mail": {"pending": 0, "processing": 1, "failed": 1},
            },
        },
    }


def test_s53_running_commands_have_the_documented_keys(served: Served, recorded: Recorded) -> None:
    older = recorded.run("data:sync", started_at=time.time() - 60)
    run = recorded.run(arguments={"path": "/data"}, source="schedule")
    answer = served.get("commands/running")
    assert answer.headers["x-total-count"] == "2"
    first, second = answer.json()["data"]
    assert list(first) == [
        *("id", "command", "source", "started_at", "environment", "arguments", "options"),
        *("trace_id", "host", "pid"),
    ]
    assert first["id"] == run.id
    assert (first["command"], first["source"]) == ("data:process", "schedule")
    assert (first["environment"], first["arguments"]) == ("production", {"path": "/data"})
    assert (first["host"], first["pid"]) == ("worker-1", 4321)
    assert T2.fullmatch(first["started_at"])
    assert second["id"] == older.id
    assert '"arguments":{},"options":{}' in answer.text


def test_s54_finished_commands_have_the_documented_keys(served: Served, recorded: Recorded) -> None:
    first = recorded.run(started_at=time.time() - 20)
    first.end(finished_at=time.time() - 10)
    second = recorded.run("data:sync")
    second.end(Outcome.FAILED, 4)
    old = recorded.run("data:old")
    old.end()
    with recorded.client() as client:
        # Its hour is over: the score is the instant at which the entry ends.
        client.zadd("jobmon:commands:finished:by-time", {old.id: time.time() * 1000 - 1})
    newest, next_newest = served.data("commands/finished")
    assert list(newest)[:5] == ["id", "command", "source", "finished_at", "exit_code"]
    assert set(newest) == {
        *("id", "command", "source", "finished_at", "exit_code"),
        *("started_at", "duration"),
    }
    assert (newest["id"], newest["exit_code"]) == (second.id, 4)
    assert T2.fullmatch(newest["finished_at"])
    assert (next_newest["id"], next_newest["exit_code"]) == (first.id, 0)
    assert next_newest["duration"] == pytest.approx(10, abs=0.1)


def test_s55_a_job_is_the_stored_record_byte_for_byte(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    done = run.job(Outcome.COMPLETED, note='Zoë \u2028 \\ / " 1764000000.123456')
    waiting = run.job()
    answer = served.get(f"commands/{run.id.upper()}/jobs")
    jobs = answer.json()["data"]
    assert [list(job) for job in jobs] == [["id", "status"]] * 2
    assert [job["id"] for job in jobs] == [done, waiting]
    with recorded.client() as client:
        for job in jobs:
            stored = client.hget(f"jobmon:command:{run.id}:jobs", job["id"])
            assert isinstance(stored, bytes)
            assert job["status"].encode() == stored
            assert json.loads(job["status"])["status"] in ("completed", "pending")
    assert answer.headers["x-total-count"] == "2"
    assert "link" not in answer.headers


def test_s55_more_than_ten_thousand_jobs_come_in_linked_pages(
    served: Served, recorded: Recorded
) -> None:
    run = recorded.run()
    run.jobs(10_050, created_at=1_790_000_000.0)
    first = served.get(f"commands/{run.id}/jobs")
    assert first.headers["x-total-count"] == "10050"
    assert len(first.json()["data"]) == 10_000
    following = first.links["next"]["url"]
    assert following.startswith(f"{served.url}{PREFIX}/commands/{run.id}/jobs?cursor=")
    second = served.client.get(following)
    assert "next" not in second.links
    ids = [job["id"] for page in (first, second) for job in page.json()["data"]]
    assert len(set(ids)) == 10_050
    assert ids == sorted(ids)


def test_s56_an_unknown_run_has_no_jobs_and_no_uuid_is_not_found(
    served: Served, recorded: Recorded
) -> None:
    unknown = served.get(f"commands/{uuid.uuid4()}/jobs")
    assert (unknown.status_code, unknown.json()) == (200, {"status": "success", "data": []})
    for wrong in ("nope", "0" * 32, f"{{{uuid.uuid4()}}}", f"urn:uuid:{uuid.uuid4()}"):
        answer = served.get(f"commands/{wrong}/jobs")
        assert answer.status_code == 404
        assert answer.json() == {"status": "error", "message": "Not found."}


A = {
    404: {"success": False, "message": "Not found.", "error": "Not Found"},
    405: {"success": False, "message": "Method not allowed.", "error": "Method Not Allowed"},
    413: {"success": False, "message": "Payload too large.", "error": "Payload Too Large"},
}
B = {
    404: {"status": "error", "message": "Not found."},
    405: {"status": "error", "message": "Method not allowed."},
    413: {"status": "error", "message": "Payload too large."},
}
STYLES = {
    "stats": B,
    "jobs/failed": B,
    "dashboard": A,
    "command-metrics": A,
    "job-metrics": A,
    "jobs/123": A,
    "commands/running": B,
    "commands/finished": B,
    f"commands/{uuid.UUID(int=7)}/jobs": B,
    "health": A,
    f"commands/{uuid.UUID(int=7)}": A,
}


@pytest.mark.parametrize("path", STYLES)
def test_s70_errors_are_json_in_the_style_of_their_endpoint(
    path: str, served: Served, store: RedisServer
) -> None:
    bodies = STYLES[path]
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        answer = served.client.request(method, f"{PREFIX}/{path}", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.json()) == (405, bodies[405])
        assert answer.headers["allow"] == "GET, HEAD"
        assert answer.headers["content-type"] == "application/json"
    large = served.client.post(f"{PREFIX}/{path}", content=b"x" * (64 * 1024 + 1))
    assert (large.status_code, large.json()) == (413, bodies[413])
    chunks = iter([b"x" * 40_000, b"x" * 40_000])
    large = served.client.post(f"{PREFIX}/{path}", content=chunks)
    assert (large.status_code, large.json()) == (413, bodies[413])


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nope", PREFIX, f"{PREFIX}/", f"{PREFIX}/stats/", f"{PREFIX}/commands"),
        *(f"{PREFIX}/commands/running/", "/metrics/", f"{PREFIX}//stats", "/api"),
    ],
)
def test_s70_an_unknown_path_is_json_and_no_redirect(path: str, served: Served) -> None:
    answer = served.client.get(path)
    assert (answer.status_code, answer.json()) == (404, A[404])


def test_s71_the_prefix_moves_every_endpoint(redis_server: RedisServer) -> None:
    with Served(redis_server.url, PREFIX="ops/jobs") as server:
        for path in (
            *("dashboard", "health", "stats", "jobs/failed", "jobs/late", "job-metrics"),
            *("command-metrics?command=x", "anomalies", "commands/running", "commands/finished"),
            *(f"commands/{uuid.uuid4()}/jobs", "schedules", "workers", "openapi.json", "docs"),
        ):
            assert server.client.get(f"/ops/jobs/{path}").status_code == 200
            assert server.get(path).status_code == 404
        assert server.client.get("/livez").status_code == 200
        assert "/ops/jobs" in server.headline


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("REDIS_PORT", "99999"),
        ("PREFIX", "metrics"),
        ("LISTEN", "localhost"),
        ("AUTH_TOKENS", "ann:admin:sha256:00"),
        ("MIDDLEWARE", "api,auth:basic"),
        ("MIDDLEWARE", "no_such_module:Layer"),
        ("LOGGING_LEVEL", "LOUD"),
    ],
)
def test_s80_a_bad_value_stops_serve_with_exit_2_and_names_the_key(
    setting: str, value: str
) -> None:
    ended = serve(**{setting: value})
    assert ended.returncode == 2
    assert setting.lower().replace("_", ".") in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_s81_serve_off_loopback_without_auth_refuses_to_start() -> None:
    for address in ("0.0.0.0:0", "[::]:0", "myhost:0"):
        ended = serve("--listen", address)
        assert ended.returncode == 2
        assert "auth.tokens" in ended.stderr
        assert "auth.allow_unauthenticated" in ended.stderr


def test_s81_allowed_explicitly_it_starts(store: RedisServer) -> None:
    with Served(store.url, LISTEN="0.0.0.0:0", AUTH_ALLOW_UNAUTHENTICATED="true") as server:
        port = server.url.rpartition(":")[2]
        answer = httpx.get(f"http://127.0.0.1:{port}{PREFIX}/stats", trust_env=False)
        assert answer.status_code == 200
        until(lambda: "no authentication is configured" in server.logged())


def test_s81_with_tokens_it_starts(store: RedisServer) -> None:
    with Served(store.url, LISTEN="0.0.0.0:0", AUTH_TOKENS=TOKENS) as server:
        port = server.url.rpartition(":")[2]
        address = f"http://127.0.0.1:{port}{PREFIX}/stats"
        assert httpx.get(address, trust_env=False).status_code == 401
        assert httpx.get(address, headers=bearer(READ), trust_env=False).status_code == 200


def test_s82_without_a_token_401_and_a_challenge(guarded: Served, store: RedisServer) -> None:
    bodies = {
        "stats": {"status": "error", "message": "Unauthenticated."},
        "health": {"success": False, "message": "Unauthenticated.", "error": "Unauthorized"},
        "nope": {"success": False, "message": "Unauthenticated.", "error": "Unauthorized"},
    }
    wrong: list[dict[str, str]] = [
        {},
        bearer("jmr_readeR"),
        {"Authorization": "Bearer"},
        bearer("x" * 5000),
        {"Authorization": READ},
        {"Authorization": f"Basic {READ}"},
        {"Authorization": f"Bearer {READ} {READ}"},
        {"Cookie": f"jobmon={READ}"},
    ]
    for last, (path, body) in enumerate(bodies.items()):
        elsewhere = {"X-Forwarded-For": f"192.0.2.{last}"}  # one address may fail ten times
        for headers in wrong:
            answer = guarded.get(path, headers={**headers, **elsewhere})
            assert (answer.status_code, answer.json()) == (401, body)
            assert answer.headers["www-authenticate"] == 'Bearer realm="jobmon"'
        assert guarded.get(f"{path}?token={READ}").status_code == 401


def test_s82_a_token_without_the_scope_gets_403(guarded: Served, store: RedisServer) -> None:
    answer = guarded.get("stats", headers=bearer(METRICS))
    assert answer.status_code == 403
    assert answer.json() == {"status": "error", "message": "This action is unauthorized."}
    answer = guarded.get("health", headers=bearer(METRICS))
    assert answer.json()["error"] == "Forbidden"


def test_s82_tokens_of_the_right_scope_pass(guarded: Served, store: RedisServer) -> None:
    for token in (READ, OPERATE):
        for path in ("stats", "health", "commands/running", "commands/finished"):
            assert guarded.get(path, headers=bearer(token)).status_code == 200
            lower = {"authorization": f"bearer {token}"}
            assert guarded.get(path, headers=lower).status_code == 200
    for token in (METRICS, READ, OPERATE):
        assert guarded.client.get("/metrics", headers=bearer(token)).status_code == 200
    assert guarded.client.get("/metrics").status_code == 401


def test_s82_method_and_path_are_judged_after_the_token(
    guarded: Served, store: RedisServer
) -> None:
    for method in ("POST", "DELETE"):
        for headers, status in (({}, 401), (bearer(READ), 405), (bearer(OPERATE), 405)):
            answer = guarded.client.request(method, f"{PREFIX}/stats", headers=headers)
            assert answer.status_code == status
        answer = guarded.client.request(method, f"{PREFIX}/nope", headers=bearer(READ))
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost@evil.example", ""],
)
def test_s86_a_foreign_host_is_refused_before_anything_else(host: str, guarded: Served) -> None:
    for path in (f"{PREFIX}/stats", f"{PREFIX}/health", "/nope", "/metrics", "/livezz"):
        answer = guarded.client.get(path, headers={"Host": host})
        assert answer.status_code == 400
        assert answer.json()["message"] == "Bad request."
    for path in ("/livez", "/readyz"):  # asked by load balancers under any name; they tell nothing
        assert guarded.client.get(path, headers={"Host": host}).status_code == 200


def test_s86_hosts_of_this_machine_and_allowed_ones_are_answered(store: RedisServer) -> None:
    with Served(
        store.url, ALLOWED_HOSTS="jobs.example", PUBLIC_URL="https://ops.example"
    ) as server:
        for host in (
            *("localhost", "LOCALHOST.", "127.0.0.1:1", "[::1]:8765", "[::1]"),
            *("jobs.example", "Jobs.Example:8765", "ops.example"),
        ):
            assert server.get("stats", headers={"Host": host}).status_code == 200, host
        assert server.get("stats", headers={"Host": "other.example"}).status_code == 400


def test_s90_a_nasty_name_is_inert_in_logs_and_terminal(
    redis_server: RedisServer, recorded: Recorded
) -> None:
    run = recorded.run(NASTY)
    run.job(Outcome.FAILED, job_name=NASTY, queue=NASTY)
    with Served(redis_server.url) as server:
        answer = server.get("commands/running")
        assert answer.json()["data"][0]["command"] == NASTY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-type"] == "application/json"
        text = server.client.get("/metrics", headers={"Accept": "text/plain"}).text
        server.client.get(f"/{NASTY.encode('unicode_escape').decode()}/%0D%0A%1B%5B31m%C2%9B")
        until(lambda: "%0D" in server.logged() or "\\r\\n" in server.logged())
        logged = server.logged()
    lines = [line for line in text.split("\n") if "evil" in line]
    assert lines
    assert all(line.startswith("jobmon_") for line in lines)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", logged)
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in logged.splitlines())

    for output_format in ("text", "json"):
        shown = subprocess.run(
            [sys.executable, "-m", "jobmon.cli.main", "status", "--format", output_format],
            env=environment(REDIS_URL=redis_server.url),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert "evil" in shown.stdout
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", shown.stdout)
