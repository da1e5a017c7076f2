"""Workers need Redis alone: S92."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.history.schema import tables
from tests.conftest import RedisServer
from tests.databases import Database
from tests.live.celery_fixtures import Run, celery_worker
from tests.live.celery_fixtures import command as by_celery
from tests.live.rq_fixtures import command as by_rq
from tests.live.rq_fixtures import rq_worker
from tests.serving import Served, until

pytestmark = pytest.mark.live

ABSENT_SECONDS = 600
OWN = tables("")


@pytest.mark.parametrize("own_database", ["sqlite"], indirect=True)
def test_s92_nothing_recorded_while_server_and_database_are_away_is_missing(
    store: RedisServer, own_database: Database, tmp_path: Path
) -> None:
    """The ten minutes pass by every key living ten minutes less, as Redis alone would see them."""
    (tmp_path / "rq").mkdir()
    with celery_worker(store, tmp_path), rq_worker(store, tmp_path / "rq"):
        runs = [
            Run(store, by_celery(store, "for n in range(10): add.delay(n, n)\nfail.delay('no')")),
            Run(store, by_rq(store, "for n in range(10): queue.enqueue(jobs.add, n, n)")),
        ]
        jobs = runs[0].ended(11) | runs[1].ended(10)
    with store.client() as client:
        for key in client.scan_iter():
            if (left := client.ttl(key)) > 0:
                client.expire(key, left - ABSENT_SECONDS)
    where = {"DATABASE_URL": own_database.url}
    with Served(store.url, **where), own_database.engine() as engine:

        def copied() -> dict[str, str]:
            columns = OWN.job_metrics.c
            with engine.connect() as connection:
                found = connection.execute(sa.select(columns.job_id, columns.status)).all()
            return {row.job_id: row.status for row in found}

        until(lambda: len(copied()) == len(jobs), 60)
        success = {"completed": "success", "failed": "failed"}
        assert copied() == {name: success[job["status"]] for name, job in jobs.items()}
        with engine.connect() as connection:
            columns = OWN.command_metrics.c
            asked = sa.select(columns.process_id, columns.job_count, columns.failed_jobs)
            until(lambda: len(connection.execute(asked).all()) == 2)
            assert sorted(map(tuple, connection.execute(asked))) == sorted(
                [(runs[0].process_id, 11, 1), (runs[1].process_id, 10, 0)]
            )
            failed = connection.execute(sa.select(OWN.failed_jobs.c.uuid)).all()
        assert [row.uuid for row in failed] == [
            name for name, job in jobs.items() if job["status"] == "failed"
        ]
