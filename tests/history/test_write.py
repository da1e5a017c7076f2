"""Writing rows: whole batches, never an older version, never by a holder that was replaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from jobmon.history import database, migrate, rows
from jobmon.history.fence import FencedError
from jobmon.history.rows import Row
from jobmon.history.schema import tables
from jobmon.history.write import Batch, History
from jobmon.model import STATUS_OF, Outcome
from tests.databases import Database

NOW = datetime(2025, 8, 3, 12, tzinfo=UTC)
OWN = tables("")
RUN = "0af76519-16cd-43dd-8448-eb211c80319c"
MANY = 300
"""Enough to be copied rather than inserted where there is such a way."""


@pytest.fixture
def engine(own_database: Database) -> Iterator[sa.Engine]:
    """Of a database with its tables."""
    migrate.prepare(own_database.settings())
    with own_database.engine() as made:
        yield made


@pytest.fixture
def history(engine: sa.Engine) -> History:
    return History(engine, OWN, "sync", str)


def job(job_id: str, version: int = 1, seconds: float = 0.5, **more: Any) -> Row:
    outcome = more.pop("outcome", Outcome.COMPLETED)
    status = STATUS_OF[outcome]
    record = {"attempt": 1, "execution_time": seconds, "memory_usage": 7, "command_name": "c"}
    raw = rows.JobRecord({**record, "outcome": str(outcome), **more}, str(status), 1)
    row = rows.job(RUN, job_id, version, raw, NOW)
    assert row is not None
    return row


def run(version: int = 1, **known: str) -> Row:
    return rows.run(RUN, "c", version, {"born": "1", **known}, NOW)


def failed(job_id: str, version: int = 1) -> Row:
    return rows.failed(RUN, job_id, version, rows.JobRecord({}, "failed", 1), b"\x00\xff")


def attempt(job_id: str, version: int = 1) -> Row:
    return rows.attempt(RUN, job_id, version, b'{"status":"retrying","attempt":1}', NOW)


def found(engine: sa.Engine, table: sa.Table, *names: str) -> set[tuple[Any, ...]]:
    with engine.connect() as reading:
        statement = sa.select(*(table.c[name] for name in names))
        return {tuple(row) for row in reading.execute(statement)}


@pytest.mark.parametrize("number", [1, MANY])
def test_a_row_of_a_higher_version_replaces_one_of_a_lower_never_the_other_way_round(
    engine: sa.Engine, history: History, number: int
) -> None:
    ids = [str(at) for at in range(number)]

    def write(version: int, seconds: float) -> None:
        more = [attempt(one, version) for one in ids]
        jobs = [job(one, version, seconds) for one in ids]
        history.write(
            1, Batch(jobs=jobs, attempts=more, failed=[failed(one, version) for one in ids])
        )

    for version, seconds in ((5, 0.5), (4, 0.4), (7, 0.7), (7, 0.8), (6, 0.6)):
        write(version, seconds)
    assert found(engine, OWN.job_metrics, "job_id", "version", "execution_time") == {
        (one, 7, 0.7) for one in ids
    }
    assert found(engine, OWN.job_attempts, "job_id", "version") == {(one, 7) for one in ids}
    assert found(engine, OWN.failed_jobs, "uuid", "version", "message") == {
        (one, 7, b"\x00\xff") for one in ids
    }


def test_rows_of_many_kinds_are_copied_as_they_are_inserted(
    engine: sa.Engine, history: History
) -> None:
    odd = 'tab\t newline\n quote" back\\slash \\N é \U0001f600 \ufffd'
    texts = {"queue": odd, "class": odd, "worker": "", "enqueued_at": 1.25, "finished_at": 1e9}
    few, many = [[job(f"{n}-{at}", **texts) for at in range(n)] for n in (1, MANY)]
    history.write(1, Batch(jobs=few))
    history.write(1, Batch(jobs=many))
    names = ("queue", "job_class", "worker", "host", "enqueued_at", "finished_at", "created_at")
    assert len(found(engine, OWN.job_metrics, *names)) == 1
    [(queue, *_)] = found(engine, OWN.job_metrics, "queue")
    assert queue == odd
    with engine.connect() as reading:
        assert reading.scalar(sa.select(sa.func.count()).select_from(OWN.job_metrics)) == MANY + 1


def test_what_is_taken_out_stays_out_for_older_versions_only_as_long_as_the_fence_holds(
    engine: sa.Engine, history: History
) -> None:
    history.write(1, Batch(jobs=[job("a", 5), job("b", 9)]))
    gone = [{"process_id": RUN, "job_id": one, "version": 7} for one in ("a", "b", "c")]
    history.write(2, Batch(open_again=gone))
    assert found(engine, OWN.job_metrics, "job_id") == {("b",)}
    with pytest.raises(FencedError):
        history.write(1, Batch(jobs=[job("a", 5)]))
    assert found(engine, OWN.job_metrics, "job_id") == {("b",)}


@pytest.mark.parametrize("number", [1, MANY])
def test_a_holder_that_was_replaced_writes_nothing(
    engine: sa.Engine, history: History, number: int
) -> None:
    history.write(7, Batch(jobs=[job("first")]))
    jobs = [job(str(at)) for at in range(number)]
    with pytest.raises(FencedError):
        history.write(6, Batch(jobs=jobs, runs=[run()], failed=[failed("x")]))
    assert found(engine, OWN.job_metrics, "job_id") == {("first",)}
    assert found(engine, OWN.command_metrics, "process_id") == set()
    assert found(engine, OWN.failed_jobs, "uuid") == set()
    history.write(7, Batch(jobs=jobs))
    assert len(found(engine, OWN.job_metrics, "job_id")) == number + 1


def test_each_lease_has_a_fence_of_its_own(engine: sa.Engine, history: History) -> None:
    history.write(7, Batch(jobs=[job("a")]))
    History(engine, OWN, "leader", str).write(3, Batch(failed=[failed("a")]))
    assert found(engine, OWN.fence, "name", "token") == {("sync:", 7), ("leader:", 3)}


@pytest.mark.parametrize("number", [1, MANY])
def test_one_row_that_is_refused_leaves_nothing_of_its_batch(
    engine: sa.Engine, history: History, number: int
) -> None:
    jobs = [job(str(at)) for at in range(number)]
    jobs.append({**job("x"), "status": "done"})
    with pytest.raises(DBAPIError) as raised:
        history.write(1, Batch(jobs=jobs))
    assert database.is_of_the_row(raised.value)
    assert not database.is_away(raised.value)
    assert found(engine, OWN.job_metrics, "job_id") == set()
    history.write(1, Batch(jobs=jobs[:-1]))
    assert len(found(engine, OWN.job_metrics, "job_id")) == number


def test_a_table_that_is_not_there_is_no_rows_fault(engine: sa.Engine, history: History) -> None:
    with engine.begin() as dropping:
        OWN.job_metrics.drop(dropping)
    for number in (1, MANY):
        with pytest.raises(DBAPIError) as raised:
            history.write(1, Batch(jobs=[job(str(at)) for at in range(number)]))
        assert not database.is_of_the_row(raised.value)
        assert not database.is_away(raised.value)


class TestPartial:
    """Runs whose counters know a part of them alone."""

    def counted(self, engine: sa.Engine) -> dict[str, Any]:
        with engine.connect() as reading:
            return dict(reading.execute(sa.select(OWN.command_metrics)).mappings().one())

    def test_a_run_that_began_unseen_is_counted_from_its_rows(
        self, engine: sa.Engine, history: History
    ) -> None:
        jobs = [job(str(at), seconds=0.5, memory_usage=at) for at in range(3)]
        jobs += [job("lost", outcome=Outcome.LOST), job("failed", outcome=Outcome.FAILED)]
        history.write(1, Batch(jobs=jobs))
        history.write(
            1, Batch(runs=[run(2, partial="1", job_count="2", success_jobs="1", revoked_jobs="1")])
        )
        row = self.counted(engine)
        assert (row["job_count"], row["success_jobs"], row["failed_jobs"]) == (6, 3, 2)
        assert (row["lost_jobs"], row["revoked_jobs"], row["partial"]) == (1, 1, True)
        assert row["total_time"] == pytest.approx(2.5)
        assert row["avg_job_time"] == pytest.approx(2.5 / 6)
        assert row["peak_memory"] == 7
        assert row["status"] == "running"

    def test_a_run_born_again_keeps_what_its_first_life_knew(
        self, engine: sa.Engine, history: History
    ) -> None:
        whole = run(
            1_002_000_000,
            status="completed",
            job_count="2",
            success_jobs="2",
            started_at="1000.5",
            finished_at="1001",
            exit_code="0",
            run='{"host":"h","source":"cron","duration":0.5}',
        )
        history.write(1, Batch(jobs=[job("a"), job("b")], runs=[whole]))
        reborn = run(1_003_000_000, partial="1", born="2", job_count="2", success_jobs="1")
        history.write(1, Batch(jobs=[job("c", 5)], runs=[reborn]))
        row = self.counted(engine)
        assert (row["job_count"], row["success_jobs"]) == (4, 3)  # one of the later two is open
        assert (row["status"], row["exit_code"], row["host"]) == ("completed", 0, "h")
        assert (row["source"], row["run_date"].isoformat()) == ("cron", "1970-01-01")
        assert row["started_at"] == datetime.fromtimestamp(1000.5, UTC)
        assert row["version"] == 1_003_000_000

    def test_a_run_of_another_birth_is_counted_from_its_rows_too(
        self, engine: sa.Engine, history: History
    ) -> None:
        history.write(
            1, Batch(jobs=[job("a"), job("b")], runs=[run(status="running", job_count="2")])
        )
        again = run(5, born="2", status="running", job_count="1", success_jobs="1")
        history.write(1, Batch(jobs=[job("c", 5)], runs=[again]))
        assert self.counted(engine)["job_count"] == 3


def test_names_differ_by_case(engine: sa.Engine, history: History) -> None:
    history.write(1, Batch(jobs=[job("a"), job("A"), job("á")]))
    assert found(engine, OWN.job_metrics, "job_id") == {("a",), ("A",), ("á",)}


def test_what_one_has_written_but_not_committed_is_taken_out_by_its_successor(
    engine: sa.Engine, history: History
) -> None:
    """Whoever holds the lease is frozen before it commits, and thawed once replaced."""
    history.write(1, Batch())
    gone = {"process_id": RUN, "job_id": "a", "version": 7}
    successor = threading.Thread(target=history.write, args=(2, Batch(open_again=[gone])))
    with database.writing(engine) as frozen:
        frozen.execute(sa.update(OWN.fence).values(token=1))
        frozen.execute(sa.insert(OWN.job_metrics), [job("a", 5)])
        successor.start()
        successor.join(0.5)  # it waits for the fence, or has not come to it
        assert successor.is_alive()
    successor.join(20)
    assert found(engine, OWN.job_metrics, "job_id") == set()
    assert found(engine, OWN.fence, "token") == {(2,)}
