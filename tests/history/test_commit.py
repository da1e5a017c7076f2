"""Bringing a batch into the database: patiently, and around the rows that it refuses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.commit import Committer
from jobmon.history.database import DatabaseUnavailable
from jobmon.history.write import Batch, History
from tests.databases import Database
from tests.history.test_write import OWN, attempt, found, job, run
from tests.proxy import Proxy
from tests.syncing import PORTS

SETTINGS = {"sync__retry_delay_seconds": 1, "sync__retry_attempts": 2}


@pytest.fixture
def engine(own_database: Database) -> Iterator[sa.Engine]:
    migrate.prepare(own_database.settings())
    with own_database.engine() as made:
        yield made


def committer(engine: sa.Engine, database: Database, stop: threading.Event | None = None) -> Any:
    settings = database.settings(**SETTINGS)
    return Committer(History(engine, OWN, "sync", str), settings, stop or threading.Event())


@pytest.mark.parametrize("number", [1, 2, 3, 100])
def test_rows_that_are_refused_are_left_out_wherever_they_stand(
    own_database: Database, engine: sa.Engine, number: int
) -> None:
    jobs = [job(str(at)) for at in range(number)]
    bad = {0, number // 2, number - 1}
    for at in bad:
        jobs[at] = {**jobs[at], "status": "done"}
    batch = Batch(jobs=jobs, attempts=[attempt("a")], runs=[run(partial="1")])
    refused = committer(engine, own_database).commit(1, batch)
    assert {row["job_id"] for row, _ in refused} == {str(at) for at in bad}
    assert all(reason and "INSERT" not in reason for _, reason in refused)
    there = {(str(at),) for at in range(number) if at not in bad}
    assert found(engine, OWN.job_metrics, "job_id") == there
    assert found(engine, OWN.job_attempts, "job_id") == {("a",)}
    # Its jobs are written before it is counted, in whatever part of the batch they were.
    assert found(engine, OWN.command_metrics, "job_count") == {(len(there),)}


def test_one_row_of_many_costs_few_transactions(own_database: Database, engine: sa.Engine) -> None:
    jobs = [job(str(at)) for at in range(256)]
    jobs[77] = {**jobs[77], "status": "done"}
    begun: list[object] = []
    sa.event.listen(engine, "begin", begun.append)
    assert len(committer(engine, own_database).commit(1, Batch(jobs=jobs))) == 1
    assert len(begun) <= 2 * 8 + 1


@pytest.mark.parametrize("own_database", ["postgresql", "mysql"], indirect=True)
@pytest.mark.parametrize("number", [1, 200])
def test_a_database_that_is_away_is_tried_again_after_a_growing_while(
    own_database: Database, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    migrate.prepare(own_database.settings())
    proxy = Proxy(own_database.url, PORTS[own_database.kind])
    through = Database(own_database.kind, proxy.url)
    batch = Batch(jobs=[job(str(at)) for at in range(number)])
    try:
        with through.engine() as engine:
            patient = committer(engine, own_database)
            assert patient.commit(1, batch) == []
            proxy.cut()
            assert patient.commit(1, batch) == []  # a connection that broke is one try
            proxy.close()
            with caplog.at_level(logging.WARNING, "jobmon.sync"):
                caplog.clear()
                with pytest.raises(DatabaseUnavailable, match=f"did not take {number} rows"):
                    patient.commit(1, batch)
            waits = [record.getMessage() for record in caplog.records]
            assert ["in 1 s, 2 times" in waits[0], "in 2 s, 1 times" in waits[1]] == [True, True]
            assert len(waits) == 2
            stop = threading.Event()
            stop.set()
            with pytest.raises(DatabaseUnavailable):
                committer(engine, own_database, stop).commit(1, batch)
            assert len(caplog.records) == 2
    finally:
        proxy.close()


@pytest.mark.parametrize("own_database", ["postgresql"], indirect=True)
def test_a_connection_that_ends_within_a_copy_is_a_database_that_is_away(
    own_database: Database, engine: sa.Engine
) -> None:
    batch = Batch(jobs=[job(str(at)) for at in range(200)])
    ended: list[bool] = []

    def end(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("CREATE TEMPORARY") and not ended:
            ended.append(True)
            with own_database.engine() as other, other.begin() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    sa.event.listen(engine, "after_cursor_execute", end)
    assert committer(engine, own_database).commit(1, batch) == []
    assert ended
    assert len(found(engine, OWN.job_metrics, "job_id")) == 200
