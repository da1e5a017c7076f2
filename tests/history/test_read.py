"""Reading the history, on every kind of database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.history.database import DatabaseUnavailable
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import Database
from tests.history.copied import copies
from tests.serving import Recorded


def test_failed_jobs_are_counted_by_queue(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.FAILED)
    run.jobs(1, Outcome.FAILED, queue="mail")
    run.jobs(1, Outcome.COMPLETED, queue="other")
    with copies(store, own_database) as history:
        reader = HistoryReader(history.engine, history.tables)
        assert reader.failed_by_queue() == {}
        history.copy_failures()
        assert reader.failed_by_queue() == {"default": 2, "mail": 1}


def test_the_newest_row_is_of_a_run_or_of_a_job(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    recorded.run().jobs(2, Outcome.COMPLETED)
    with copies(store, own_database) as history:
        reader = HistoryReader(history.engine, history.tables)
        assert reader.newest() is None
        history.sync()
        newest = reader.newest()
        assert newest is not None
        assert abs(datetime.now(UTC) - newest) < timedelta(minutes=1)
        runs, jobs = history.tables.command_metrics, history.tables.job_metrics
        for table, column, days in ((runs, "updated_at", 2), (jobs, "created_at", 1)):
            with history.engine.begin() as connection:
                moment = newest - timedelta(days=days)
                connection.execute(sa.update(table).values({column: moment}))
        assert reader.newest() == newest - timedelta(days=1)


def test_a_database_that_cannot_be_reached_is_told_apart(tmp_path: Path) -> None:
    lost = Database("sqlite", f"sqlite:///{tmp_path}/no/such/folder/jobmon.db")
    with lost.engine() as engine:
        reader = HistoryReader(engine, tables(""))
        for ask in (reader.answers, reader.failed_by_queue, reader.newest):
            with pytest.raises(DatabaseUnavailable):
                ask()
