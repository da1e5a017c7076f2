"""A server needs no more rights on Redis than the documentation says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobmon.analysis.rounds import Rounds
from jobmon.model import Outcome
from jobmon.server.migration import Migration
from jobmon.server.work import Work
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.keys import SERVER_RULES
from jobmon.store.lease import Lease
from jobmon.store.pushes import Pushes
from jobmon.store.reader import Reader
from tests.analysis.evaluated import evaluated
from tests.conftest import RedisServer
from tests.databases import made
from tests.serving import PREFIX, Recorded, Served, until

pytestmark = pytest.mark.live

READ = (
    *("dashboard", "health", "stats", "commands/running", "commands/finished", "job-metrics"),
    *("jobs/failed", "jobs/late", "anomalies", "schedules", "workers"),
)


def test_the_documented_rights_are_enough_for_all_that_a_server_does(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    recorded = Recorded(own_redis_server)
    with (
        own_redis_server.client() as admin,
        made("sqlite", tmp_path) as database,
        evaluated(database, own_redis_server) as fleet,
    ):
        root: Any = admin
        rules = ["on", ">secret", "~jobmon:*", *SERVER_RULES.split()]
        root.execute_command("ACL", "SETUSER", "server", "reset", *rules)
        url = own_redis_server.url.replace("//", "//server:secret@")
        fleet.steady(many=20)
        fleet.run(seconds=30.0)
        run = recorded.run()
        for outcome in Outcome:
            run.job(outcome)
        job_id = run.job()
        run.end(Outcome.FAILED, 1)
        over = recorded.run("other")
        over.jobs(2, Outcome.COMPLETED)
        over.end()
        broker = f"redis://127.0.0.1:{own_redis_server.port}/1"
        given = {"DATABASE_URL": database.url, "CELERY_BROKER_URL": broker}
        given |= {"RATE_LIMITING_ENABLED": "true", "RATE_LIMITING_BURST_LIMIT": "100000"}
        with Served(url, **given) as server:
            assert server.client.get("/metrics").status_code == 200
            for path in (*READ, f"commands/{run.id}", f"commands/{run.id}/jobs", f"jobs/{job_id}"):
                assert server.get(path).status_code == 200, path
            path = f"commands/{run.id}/retry-failed"
            # Its failed jobs are copied first.
            until(lambda: server.client.post(f"{PREFIX}/{path}").status_code == 200)
            until(lambda: server.data(path)["finished_at"] is not None)
        settings = load(
            {
                "redis.url": url,
                "database.url": database.url,
                "celery.broker_url": broker,
                "alertmanager.urls": ["http://127.0.0.1:1"],
                "history.retention_days": 30,
                "sync.cleanup_enabled": True,
                "sync.cleanup_after_hours": 0,
            },
            environ={},
        )
        migration, rounds = Migration(settings), Rounds(settings)
        migration.attempt()
        work = Work(settings, migration, rounds)
        with connection.connect(settings) as client:
            token = Lease(client, settings).acquire()
            assert token is not None
            for _ in range(2):
                for task in work._tasks():
                    task.work(token)
                root.hincrby("jobmon:totals:sync", "began_ms", -3_600_000)  # it is due again
            # Nothing that failed here has a message that could be pushed again.
            pushes = Pushes(client, settings)
            pushes.open("a claim", 1)
            pushes.take_over("a claim", run.id, job_id)
            pushes.leave("a claim")
            reader = Reader(client, settings)
            totals = reader.totals()
            assert "celery" in totals.queues.polled_at
            assert totals.judged.anomalies
            assert totals.judged.deliveries.ended["stream", "delivered"] > 0
            assert reader.sync_state().succeeded_at is not None
        work.stop()
        rounds.close()
        assert root.execute_command("ACL", "LOG") == []
    recorded.close()
