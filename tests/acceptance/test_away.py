"""What is answered while the database is away: S68, and S69 of what the bodies may hold."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import httpx
import pytest

from tests.conftest import RedisServer
from tests.databases import made
from tests.proxy import Proxy
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live

FAILURES = {
    "dashboard": "Failed to retrieve dashboard data",
    "command-metrics?command=x": "Failed to retrieve command metrics",
    "job-metrics": "Failed to retrieve job metrics",
    "anomalies": "Failed to retrieve anomalies",
    f"commands/{uuid.UUID(int=7)}": "Failed to retrieve command",
    "jobs/nope": "Failed to retrieve job",
}
TELLING = re.compile(
    r'Traceback|File "|\.py\b|site-packages|/(?:home|usr|tmp|work|var)/|hunter2|sqlite|psycopg'
    r"|postgres|pymysql|redis:|(?i:\bselect\b|\bfrom\b|\bwhere\b)|127\.0\.0\.1|localhost"
)
"""What no body of an error may hold."""


def plain(answer: httpx.Response) -> httpx.Response:
    assert not TELLING.search(answer.text), answer.text
    return answer


def away(server: Served) -> None:
    for path, message in FAILURES.items():
        answer = plain(server.get(path))
        assert answer.status_code == 500
        assert answer.json() == {
            "success": False,
            "message": message,
            "error": "Internal server error",
        }
    for path in ("stats", "jobs/failed"):
        answer = plain(server.get(path))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"status": "error", "message": "Service unavailable."}
    for path in ("commands/running", f"commands/{uuid.UUID(int=7)}/jobs", "workers"):
        assert server.get(path).status_code == 200


def test_s68_s69_the_database_was_never_there(recorded: Recorded, store: RedisServer) -> None:
    run = recorded.run()
    job = run.job()
    url = "postgresql://jobmon:hunter2@127.0.0.1:1/jobmon"
    with Served(store.url, DATABASE_URL=url) as server:
        away(server)
        # What the store knows is shown all the same.
        assert server.data(f"commands/{run.id}")["status"] == "running"
        assert server.data(f"jobs/{job}")["status"] == "pending"
        assert server.data(f"jobs/{job}?process_id={run.id}")["process_id"] == run.id
        assert "hunter2" not in server.logged()


def test_s68_s69_the_database_goes_away(store: RedisServer, tmp_path: Path) -> None:
    with made("postgresql", tmp_path) as one:
        way = Proxy(one.url, 5432)
        with Served(store.url, DATABASE_URL=way.url) as server:
            until(lambda: server.get("dashboard").status_code == 200)
            way.close()
            away(server)


def test_s69_errors_of_clients_tell_nothing(served: Served) -> None:
    for path in (
        "nope",
        "jobs/%00",
        "jobs/a'%20or%20'1",
        "dashboard?days=%27",
        "jobs/" + "x" * 300,
    ):
        answer = plain(served.get(path))
        assert answer.status_code in (404, 422)
    for method in ("POST", "DELETE", "BREW"):
        assert plain(served.client.request(method, "/metrics")).status_code == 405
