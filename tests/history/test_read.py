"""Reading the history, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.database import DatabaseUnavailable
from jobmon.history.pages import Page
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from jobmon.history.totals import FAILURES, Changes, Totals
from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.databases import Database
from tests.history.copied import copies
from tests.serving import Recorded

NOW = datetime(2025, 8, 3, 12, tzinfo=UTC)
OWN = tables("")


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


@pytest.fixture
def reader(own_database: Database) -> Iterator[HistoryReader]:
    """Of a history that `filled` fills."""
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        yield HistoryReader(engine, OWN)


def filled(reader: HistoryReader, table: sa.Table, *some: dict[str, Any]) -> None:
    with reader._engine.begin() as connection:
        connection.execute(table.insert(), list(some))
        if table is OWN.failed_jobs:
            changes = Changes()
            changes.add(FAILURES, [(row["failed_at"], row["queue"]) for row in some])
            Totals(connection.dialect, OWN).apply(connection, changes)


def failure(number: int, uuid: str, process_id: str, minutes: int) -> dict[str, Any]:
    texts = dict.fromkeys(("connection", "queue", "payload", "exception", "command_name"), "x")
    moment = NOW - timedelta(minutes=minutes)
    return {**texts, "id": number, "uuid": uuid, "process_id": process_id, "failed_at": moment}


def test_failed_jobs_are_paged_by_their_failure_then_their_number(reader: HistoryReader) -> None:
    some = [failure(n, f"job-{n}", f"run-{n % 2}", n // 3) for n in range(1, 96)]
    filled(reader, OWN.failed_jobs, *some)
    ordered = sorted(some, key=lambda row: (row["failed_at"], row["id"]), reverse=True)
    for process_id in (None, "run-0"):
        whole = [one["id"] for one in ordered if process_id in (None, one["process_id"])]
        found = [
            reader.failed_jobs(offset, 20, process_id=process_id) for offset in range(0, 100, 20)
        ]
        assert [one.id for page in found for one in page.rows] == whole
        assert {page.total for page in found} == {len(whole)}
    assert reader.failed_jobs(0, 20, process_id="unknown") == Page([], 0)
    assert reader.failed_jobs(20, 20, process_id="unknown") == Page([], 0)


def test_a_failed_job_is_named_by_its_number_before_its_id(reader: HistoryReader) -> None:
    filled(
        reader,
        OWN.failed_jobs,
        failure(7, "a", "old", 9),
        failure(8, "a", "new", 3),
        failure(9, "7", "digits", 3),
        failure(10, "4711", "digits", 3),
        failure(11, "9" * 30, "digits", 3),
    )
    found = {
        given: getattr(reader.failed_job(given), "id", None)
        for given in ("7", "a", "4711", "9" * 30, "A", "12", "\u0667")
    }
    assert found == {
        "7": 7,
        "a": 8,
        "4711": 10,
        "9" * 30: 11,
        "A": None,
        "12": None,
        "\u0667": None,
    }


def test_a_job_is_the_last_to_end_of_its_id_and_has_its_attempts(reader: HistoryReader) -> None:
    row = {"command_name": "c", "status": "failed", "outcome": "lost", "host": "h"}
    row |= {"created_at": NOW, "updated_at": NOW}
    for minutes, process_id in enumerate(("newest", "older")):
        moment = NOW - timedelta(minutes=minutes)
        filled(
            *(reader, OWN.job_metrics),
            {**row, "job_id": "a", "process_id": process_id, "finished_at": moment},
        )
    newest, older = reader.job("a"), reader.job("a", "older")
    assert newest is not None
    assert older is not None
    assert (newest.process_id, newest.finished_at, newest.host) == ("newest", NOW, "h")
    assert older.process_id == "older"
    assert reader.job("A") is None
    tried = {"process_id": "older", "job_id": "a", "status": "retrying", "created_at": NOW}
    filled(reader, OWN.job_attempts, *({**tried, "attempt": number} for number in (2, 1, 3)))
    assert [one.attempt for one in reader.attempts("older", "a")] == [1, 2, 3]
    assert reader.attempts("newest", "a") == []


def test_a_run_is_told_whole(reader: HistoryReader) -> None:
    row = {"process_id": "p", "command_name": "c", "status": "completed", "partial": False}
    row |= {"run_date": NOW.date(), "created_at": NOW, "updated_at": NOW, "started_at": NOW}
    filled(reader, OWN.command_metrics, {**row, "options": '{"force":true}', "duration": 1.5})
    found = reader.run("p")
    assert found is not None
    assert (found.options, found.duration, found.run_date) == ('{"force":true}', 1.5, NOW.date())
    assert found.started_at == NOW
    assert reader.run("P") is None


def test_anomalies_are_paged_by_command_and_severity(reader: HistoryReader) -> None:
    some = [
        {
            "anomaly_id": str(number),
            "process_id": str(number),
            "command_name": ("c", "d")[number % 2],
            "anomaly_type": "workload_spike",
            "metric": "job_count",
            "current": 4.0,
            "baseline_avg": 1.0,
            "severity": ("low", "high", "high")[number % 3],
            "threshold": 2.0,
            "details": {"ratio": 4.0},
            "detected_at": NOW - timedelta(hours=number),
        }
        for number in range(40)
    ]
    filled(reader, OWN.anomalies, *some)
    since = NOW - timedelta(hours=30)
    for command, severity in product((None, "c"), (None, "high")):
        whole = [
            one["anomaly_id"]
            for one in some
            if command in (None, one["command_name"])
            and severity in (None, one["severity"])
            and one["detected_at"] >= since
        ]
        pages = [
            reader.anomalies(since, offset, 7, command=command, severity=severity)
            for offset in range(0, len(whole) + 7, 7)
        ]
        assert [one.anomaly_id for page in pages for one in page.rows] == whole
        assert {page.total for page in pages} == {len(whole)}
    assert reader.anomalies(since, 0, 1).rows[0].details == {"ratio": 4.0}


def test_a_database_that_cannot_be_reached_is_told_apart(tmp_path: Path) -> None:
    lost = Database("sqlite", f"sqlite:///{tmp_path}/no/such/folder/jobmon.db")
    with lost.engine() as engine:
        reader = HistoryReader(engine, tables(""))
        asks = (
            *(reader.answers, reader.failed_by_queue, reader.newest),
            lambda: reader.failed_jobs(0, 1),
            lambda: reader.jobs(NOW, 20, 1),
            lambda: reader.job_statistics(NOW),
            lambda: reader.run("p"),
        )
        for ask in asks:
            with pytest.raises(DatabaseUnavailable):
                ask()
