"""Pages: put together, they are the whole; and what they count is what is there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmon.history import database, migrate, pages, retention, rows
from jobmon.history.found import JobStatistics, RunSummary
from jobmon.history.read import HistoryReader
from jobmon.history.retention import prune
from jobmon.history.rows import Row
from jobmon.history.schema import tables
from jobmon.history.totals import FAILURES, JOBS, RUNS, Changes, Counted, Totals
from jobmon.history.write import Batch, History
from jobmon.model import STATUS_OF, Outcome
from tests.databases import Database

NOW = datetime(2025, 8, 3, 12, 34, 56, 789, tzinfo=UTC)
MIDNIGHT = datetime(2025, 8, 3, tzinfo=UTC)
OWN = tables("")
COMMANDS = ("data:process", "mail", "")
Engine = sa.Engine


@pytest.fixture
def engine(own_database: Database) -> Iterator[Engine]:
    migrate.prepare(own_database.settings())
    with own_database.engine() as made:
        yield made


@pytest.fixture
def history(engine: Engine) -> History:
    return History(engine, OWN, "sync", str)


@pytest.fixture
def reader(engine: Engine) -> HistoryReader:
    return HistoryReader(engine, OWN)


def process(number: int) -> str:
    return f"0af76519-16cd-43dd-8448-{number:012x}"


def job(
    job_id: str,
    ended: datetime | None,
    *,
    version: int = 1,
    run: int = 0,
    command: str = "data:process",
    outcome: Outcome = Outcome.COMPLETED,
    seconds: float = 0.5,
    **more: Any,
) -> Row:
    data = {"command_name": command, "execution_time": seconds, "outcome": str(outcome), **more}
    if ended is not None:
        data["finished_at"] = ended.timestamp()
    record = rows.JobRecord(data, str(STATUS_OF[outcome]), 1)
    row = rows.job(process(run), job_id, version, record, NOW)
    assert row is not None
    return row


def run(
    number: int, started: datetime | None, *, version: int = 1, command: str = "mail", **more: str
) -> Row:
    born = (started or NOW).timestamp()
    known = {"born": str(int(born * 1e6)), "status": "completed", **more}
    if started is not None:
        known["started_at"] = repr(started.timestamp())
    else:
        known |= {"partial": "1"}
        del known["status"]
    return rows.run(process(number), command, version, known, NOW)


def failure(uuid: str, at: datetime, *, version: int = 1, queue: str = "default") -> Row:
    record = rows.JobRecord({"finished_at": at.timestamp(), "queue": queue}, "failed", 1)
    return rows.failed(process(0), uuid, version, record, None)


def kept(engine: Engine) -> list[tuple[Any, ...]]:
    """The sums over at least one row."""
    own = OWN.period_totals
    with engine.connect() as reading:
        found = reading.execute(sa.select(own)).all()
    assert all(not any(one[4:]) for one in found if not one.n)
    return sorted(tuple(one) for one in found if one.n)


def recounted(engine: Engine) -> list[tuple[Any, ...]]:
    """What they must be."""
    changes = Changes()
    for table, counted in (
        *((OWN.job_metrics, JOBS), (OWN.command_metrics, RUNS)),
        (OWN.failed_jobs, FAILURES),
    ):
        add_all(engine, table, counted, changes)
    return sorted(tuple(row.values()) for row in changes.rows())


def add_all(engine: Engine, table: sa.Table, counted: Counted, changes: Changes) -> None:
    with engine.connect() as reading:
        found = reading.execute(sa.select(*(table.c[name] for name in counted.columns))).all()
    assert None not in [one[0] for one in found]
    changes.add(counted, found)


moments = st.builds(
    lambda hours, us: MIDNIGHT - timedelta(hours=hours, microseconds=us),
    st.integers(-30, 60),
    st.integers(0, 3_599_999_999),
)
seconds = st.floats(0, 1e9) | st.sampled_from([0.0, 5e-7, 0.1, 1.0000005, 1e11])
sizes = st.integers(0, 2**40) | st.just(2**63 - 1)
job_rows = st.builds(
    lambda number, ended, version, command, outcome, took, queued, size: job(
        str(number),
        ended,
        run=number % 3,
        version=version,
        command=command,
        outcome=outcome,
        seconds=took,
        queue_time=queued,
        memory_usage=size,
    ),
    *(st.integers(0, 9), moments, st.integers(1, 9), st.sampled_from(COMMANDS)),
    st.sampled_from([Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST]),
    *(seconds, st.none() | seconds, sizes),
)
run_rows = st.builds(
    lambda number, started, version, born, jobs, size: run(
        *(number, started),
        version=version,
        born=str(born),
        job_count=str(jobs),
        total_job_time="1.25",
        peak_memory=str(size),
    ),
    *(st.integers(0, 3), st.none() | moments, st.integers(1, 9)),
    *(st.integers(10**15, 10**15 + 1), st.integers(0, 3), sizes),
)
gone = st.builds(
    lambda number, version: {
        "process_id": process(number % 3),
        "job_id": str(number),
        "version": version,
    },
    *(st.integers(0, 9), st.integers(1, 9)),
)
failed_rows = st.builds(
    lambda number, at, version, queue: failure(str(number), at, version=version, queue=queue),
    *(st.integers(0, 5), moments, st.integers(1, 9), st.sampled_from(["", "default", "mail"])),
)
failed_no_more = st.builds(
    lambda number, version: {
        "process_id": process(0),
        "uuid": str(number),
        "version": version,
    },
    *(st.integers(0, 5), st.integers(1, 9)),
)
batches = st.builds(
    Batch,
    jobs=st.lists(job_rows, max_size=8, unique_by=lambda row: row["job_id"]),
    open_again=st.lists(gone, max_size=3, unique_by=lambda row: row["job_id"]),
    runs=st.lists(run_rows, max_size=3, unique_by=lambda row: row["process_id"]),
    failed=st.lists(failed_rows, max_size=4, unique_by=lambda row: row["uuid"]),
    failed_no_more=st.lists(failed_no_more, max_size=2, unique_by=lambda row: row["uuid"]),
)
days = st.integers(1, 3)


def test_whatever_is_written_again_taken_out_and_pruned_the_sums_are_those_of_the_rows(
    engine: Engine, own_database: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)

    @settings(
        max_examples=30 if own_database.kind == "sqlite" else 10,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(batches | days, max_size=6))
    def check(steps: list[Batch | int]) -> None:
        with engine.begin() as emptying:
            for table in reversed(OWN.metadata.sorted_tables):
                emptying.execute(sa.delete(table))
        for step in steps:
            if isinstance(step, Batch):
                history.write(1, step)
            else:
                prune(engine, OWN, step, now=NOW)
            assert kept(engine) == recounted(engine)

    check()


def test_failed_jobs_that_somebody_deletes_leave_the_sums(
    engine: Engine, history: History, reader: HistoryReader
) -> None:
    some = [failure(str(n), NOW, queue=("", "mail", "default")[n % 3]) for n in range(9)]
    history.write(1, Batch(failed=some))
    assert reader.failed_by_queue() == {"": 3, "mail": 3, "default": 3}
    own, totals = OWN.failed_jobs, Totals(engine.dialect, OWN)
    for uuids, left in ((("0", "1", "2", "5", "8"), {"": 2, "mail": 2}), (("0", "1"), None)):
        with database.writing(engine) as connection:
            gone = totals.delete(connection, own, FAILURES, own.c.uuid.in_(uuids))
        assert len(gone) == (0 if left is None else len(uuids))
    assert reader.failed_by_queue() == {"": 2, "mail": 2}
    assert reader.failed_jobs(0, 9).total == 4
    assert kept(engine) == recounted(engine)


def test_sums_over_nothing_leave_with_the_rows_that_retention_deletes(
    engine: Engine, history: History
) -> None:
    old = NOW - timedelta(days=40)
    history.write(1, Batch(jobs=[job("old", old), job("new", NOW)], runs=[run(1, old)]))
    prune(engine, OWN, 30, now=NOW)
    with engine.connect() as reading:
        assert set(reading.execute(sa.select(OWN.period_totals.c.begins_at)).scalars()) == {
            MIDNIGHT,
            NOW.replace(minute=0, second=0, microsecond=0),
        }


def test_a_table_that_was_filled_before_is_counted_by_the_migration(
    own_database: Database,
) -> None:
    random_ = random.Random(7)
    migrating = own_database.settings()
    with own_database.engine() as engine:
        migrate.upgrade(engine, migrating, to="0001")
        with engine.begin() as filling:
            jobs = [
                job(
                    str(number),
                    NOW - timedelta(seconds=random_.uniform(0, 3e5)),
                    command=random_.choice(COMMANDS),
                    outcome=random_.choice([Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST]),
                    seconds=random_.choice([random_.expovariate(1), 5e-7, 2.5e-6, 1e11]),
                    queue_time=random_.choice([None, random_.expovariate(9)]),
                    memory_usage=random_.choice([0, 10**7, 2**60]),
                )
                for number in range(300)
            ]
            jobs[0]["finished_at"] = jobs[1]["finished_at"] = None
            jobs[1]["started_at"] = NOW
            runs = [run(number, NOW - timedelta(hours=number)) for number in range(50)]
            runs[0]["started_at"] = runs[1]["started_at"] = None
            runs[1]["finished_at"] = NOW
            filling.execute(OWN.job_metrics.insert(), jobs)
            filling.execute(OWN.command_metrics.insert(), runs)
            queues = ("", "default", "mail")
            some = [
                failure(str(n), NOW - timedelta(hours=n), queue=queues[n % 3]) for n in range(50)
            ]
            filling.execute(OWN.failed_jobs.insert(), some)
        assert migrate.upgrade(engine, migrating) == migrate.versions()[1:]
        assert kept(engine) == recounted(engine)
        assert len(kept(engine)) > 100


def test_a_migration_that_broke_off_counts_each_row_once(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrating = own_database.settings()
    with own_database.engine() as engine:
        migrate.upgrade(engine, migrating, to="0001")
        with engine.begin() as filling:
            filling.execute(OWN.job_metrics.insert(), [job("a", NOW), job("b", NOW)])
        with monkeypatch.context() as patched:
            patched.setattr("jobmon.history.migrations.steps.drop_index", None)
            with pytest.raises(TypeError):
                migrate.upgrade(engine, migrating)
        assert migrate.upgrade(engine, migrating) == migrate.versions()[1:]
        assert kept(engine) == recounted(engine)


class TestPages:
    """Of a filled history."""

    @pytest.fixture(autouse=True)
    def _filled(self, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pages, "_NEAR", 5)
        random_ = random.Random(7)
        moments = [NOW - timedelta(hours=random_.choice([0, 1, 30, 31, 100])) for _ in range(40)]
        self.jobs = [
            job(
                str(number),
                random_.choice(moments) + timedelta(minutes=random_.choice([0, 0, 0, -9, 4])),
                run=number % 2,
                command=COMMANDS[number % 2],
                outcome=random_.choice([Outcome.COMPLETED, Outcome.FAILED, Outcome.LOST]),
                seconds=number / 10,
                queue_time=None if number % 3 else number / 100,
                memory_usage=number * 1000,
            )
            for number in range(120)
        ]
        runs = [
            run(n, moments[n] if n % 4 else None, command=COMMANDS[n % 2], total_job_time="2.5")
            for n in range(40)
        ]
        history.write(1, Batch(jobs=self.jobs, runs=runs))

    def test_all_pages_of_jobs_together_are_the_whole_in_its_order(
        self, engine: Engine, reader: HistoryReader
    ) -> None:
        own = OWN.job_metrics.c
        statuses, commands = (None, "success", "failed"), (None, "mail", "unknown")
        for status, command, number, days_back in product(statuses, commands, (None, 1), (0, 30)):
            since = MIDNIGHT - timedelta(days=days_back)
            asked = {"status": status, "command_name": command}
            asked["process_id"] = None if number is None else process(number)
            conditions = [own[name] == value for name, value in asked.items() if value is not None]
            wanted = sa.select(own.job_id).where(own.finished_at >= since, *conditions)
            with engine.connect() as reading:
                ordered = wanted.order_by(own.finished_at.desc(), own.id.desc())
                whole = list(reading.execute(ordered).scalars())
            asked["command"] = asked.pop("command_name")
            found: list[str] = []
            for offset in range(0, len(whole) + 17, 17):
                page = reader.jobs(since, offset, 17, **asked)
                assert page.total == len(whole)
                found += [one.job_id for one in page.rows]
            assert found == whole
            assert reader.jobs(since, 10**12, 7, **asked) == pages.Page([], len(whole))
            if status is number is None:
                newest = reader.newest_jobs(since, 3, command=command)
                assert [one.job_id for one in newest] == whole[:3]

    def test_all_pages_of_runs_together_are_the_whole_in_its_order(
        self, engine: Engine, reader: HistoryReader
    ) -> None:
        own = OWN.command_metrics.c
        since = MIDNIGHT - timedelta(days=2)
        wanted = sa.select(own.process_id, own.total_time, own.peak_memory)
        wanted = wanted.where(own.started_at >= since)
        for command in (None, "mail", "unknown"):
            ordered = wanted.order_by(own.started_at.desc(), own.id.desc())
            if command is not None:
                ordered = ordered.where(own.command_name == command)
            with engine.connect() as reading:
                rows_there = reading.execute(ordered).all()
            whole = [one[0] for one in rows_there]
            found: list[str] = []
            for offset in range(0, len(whole) + 4, 4):
                page = reader.runs(command, since, offset, 4)
                assert page.total == len(whole)
                found += [one.process_id for one in page.rows]
            assert found == whole
            newest = [one.process_id for one in reader.newest_runs(command, since, 5)]
            assert newest == whole[:5]
            assert reader.run_summary(since, command) == pytest.approx(
                RunSummary(
                    len(whole),
                    sum(one[1] for one in rows_there) / (len(whole) or 1),
                    sum(one[2] for one in rows_there),
                )
            )

    def test_statistics_are_those_of_all_that_ended_since(self, reader: HistoryReader) -> None:
        since = MIDNIGHT - timedelta(days=2)
        for command in (None, "mail", "unknown"):
            for number in (None, 1):
                some = [
                    row
                    for row in self.jobs
                    if row["finished_at"] >= since
                    and command in (None, row["command_name"])
                    and (number is None or row["process_id"] == process(number))
                ]
                found = reader.job_statistics(
                    since, command=command, process_id=None if number is None else process(number)
                )
                assert found == pytest.approx(statistics(some))

    def test_a_page_beyond_the_last_skips_no_rows(
        self, engine: Engine, reader: HistoryReader
    ) -> None:
        said: list[str] = []

        @sa.event.listens_for(engine, "before_cursor_execute")
        def hear(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement)

        since = MIDNIGHT - timedelta(days=30)
        for asked in ({}, {"process_id": process(1)}):
            assert reader.jobs(since, 120, 7, **asked).rows == []
        assert reader.failed_jobs(20, 20).rows == []
        assert said
        assert not any("OFFSET" in one for one in said)

    def test_rows_that_somebody_deletes_by_hand_fail_no_page(
        self, engine: Engine, reader: HistoryReader
    ) -> None:
        with engine.begin() as connection:
            connection.execute(OWN.job_metrics.delete())
        for offset in (0, 3, 50, 119, 120):
            assert reader.jobs(MIDNIGHT - timedelta(days=30), offset, 7).rows == []

    def test_what_is_written_between_two_statements_of_a_page_is_not_seen(
        self, engine: Engine, reader: HistoryReader, history: History
    ) -> None:
        since = MIDNIGHT - timedelta(days=30)
        before = reader.jobs(since, 50, 7)
        written = False

        @sa.event.listens_for(engine, "after_cursor_execute")
        def write(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            nonlocal written
            if "period_totals" in statement and not written:
                written = True
                history.write(1, Batch(jobs=[job("between", NOW + timedelta(days=1))]))

        assert reader.jobs(since, 50, 7) == before
        assert written
        assert reader.jobs(since, 51, 7).rows == before.rows


def statistics(some: list[Row]) -> JobStatistics:
    if not some:
        return JobStatistics()
    failed = sum(row["status"] == "failed" for row in some)
    queued = [row["queue_time"] for row in some if row["queue_time"] is not None]
    return JobStatistics(
        total_jobs=len(some),
        success_jobs=len(some) - failed,
        failed_jobs=failed,
        avg_execution_time=sum(row["execution_time"] for row in some) / len(some),
        avg_queue_time=sum(queued) / len(queued) if queued else 0.0,
        avg_memory_usage=sum(row["memory_usage"] for row in some) / len(some),
    )


class TestPartialRuns:
    """Runs whose start was never seen have a place among the others."""

    def test_they_begin_when_they_were_first_heard_of(
        self, history: History, reader: HistoryReader
    ) -> None:
        history.write(1, Batch(runs=[run(1, None), run(2, NOW - timedelta(hours=1))]))
        found = reader.runs(None, MIDNIGHT, 0, 9).rows
        assert [(one.process_id, one.started_at) for one in found] == [
            (process(1), datetime.fromtimestamp(int(NOW.timestamp() * 1e6) / 1e6, UTC)),
            (process(2), NOW - timedelta(hours=1)),
        ]
        detail = reader.run(process(1))
        assert detail is not None
        assert detail.partial

    def test_a_start_that_is_told_later_takes_the_place_of_the_guess(
        self, engine: Engine, history: History, reader: HistoryReader
    ) -> None:
        history.write(1, Batch(runs=[run(1, None)]))
        history.write(1, Batch(runs=[run(1, NOW - timedelta(hours=3), version=2)]))
        (found,) = reader.runs(None, MIDNIGHT, 0, 9).rows
        assert found.started_at == NOW - timedelta(hours=3)
        assert kept(engine) == recounted(engine)

    def test_a_guess_never_takes_the_place_of_a_start(
        self, engine: Engine, history: History, reader: HistoryReader
    ) -> None:
        history.write(1, Batch(runs=[run(1, NOW - timedelta(hours=3))]))
        history.write(1, Batch(runs=[run(1, None, version=2, born=str(2 * 10**15))]))
        (found,) = reader.runs(None, MIDNIGHT, 0, 9).rows
        assert found.started_at == NOW - timedelta(hours=3)
        assert kept(engine) == recounted(engine)
