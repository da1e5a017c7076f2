"""``stats``: who waits and runs is the store's to tell, who failed the database's."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.proxy import Proxy
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live


def failed(server: Served) -> dict[str, int]:
    """How many failed, by queue."""
    queues = server.data("stats")["queues"]
    return {name: queue["failed"] for name, queue in queues.items()}


def test_failed_jobs_are_counted_in_the_database_and_outlive_the_store(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    run.jobs(3, Outcome.FAILED)
    run.jobs(1, Outcome.TIMED_OUT, queue="mail")
    run.jobs(2, Outcome.FAILED, queue="")  # of no queue: eager ones
    with Served(store.url, "--no-schedule", DATABASE_URL=own_database.url) as server:
        until(lambda: failed(server) == {"default": 3, "mail": 1})
        assert server.data("stats")["total_failed"] == 4
        with recorded.client() as client:
            client.flushall()
        assert failed(server) == {"default": 3, "mail": 1}


def test_without_the_database_it_is_unavailable_and_nothing_else_is(
    store: RedisServer, tmp_path: Path
) -> None:
    with made("postgresql", tmp_path) as one:
        way = Proxy(one.url, 5432)
        with Served(store.url, DATABASE_URL=way.url) as server:
            assert server.get("stats").status_code == 200
            way.close()
            answer = server.get("stats")
            assert answer.status_code == 503
            assert answer.json() == {"status": "error", "message": "Service unavailable."}
            assert answer.headers["retry-after"] == "5"
            assert server.get("commands/running").status_code == 200
            assert server.client.get("/metrics").status_code == 200
            assert "database: DatabaseUnavailable" in server.logged()
