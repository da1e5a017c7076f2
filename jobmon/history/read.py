"""The reading half of the history."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import case, func, select

from jobmon.history import database
from jobmon.history.found import (
    AnomalyRow,
    AttemptRow,
    FailedDetail,
    FailedRow,
    JobDetail,
    JobRow,
    JobStatistics,
    RunDetail,
    RunRow,
    RunSummary,
)
from jobmon.history.pages import Page, Pages, T
from jobmon.history.totals import DAY, EVERYTHING, FAILURES, JOBS, RUNS, SUMS, Counted, filed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from jobmon.history.schema import Tables

_HIGHEST_ID: Final = 2**63 - 1


class HistoryReader:
    """Reads what the server shows. Safe to share between threads.

    ``since`` is a midnight in UTC; there is no end: a host whose clock is ahead hides no rows.
    Whatever asks the database raises `DatabaseUnavailable` where it cannot be asked.
    """

    def __init__(self, engine: Engine, tables: Tables) -> None:
        self._engine = engine
        self._tables = tables
        sums = tables.period_totals
        self._failed = Pages(
            *(tables.failed_jobs, FAILURES.at, FailedRow, FailedRow._fields), sums=(sums, FAILURES)
        )
        self._runs = Pages(
            *(tables.command_metrics, RUNS.at, RunRow, RunRow._fields), sums=(sums, RUNS)
        )
        self._jobs = Pages(tables.job_metrics, JOBS.at, JobRow, JobRow._fields, sums=(sums, JOBS))
        anomalies = tables.anomalies
        self._anomalies = Pages(
            *(anomalies, "detected_at", AnomalyRow, AnomalyRow._fields),
            # Those that may come to nothing.
            shown=anomalies.c.state != "pending",
        )
        every = select(*(func.coalesce(func.sum(sums.c[name]), 0) for name in SUMS))
        self._sums = {
            (counted, *asked): every.where(*filed(sums, counted, DAY, *asked))
            for counted in (JOBS, RUNS)
            for asked in (("since",), ("since", "command_name"))
        }

    def answers(self) -> None:
        """Return once the database has answered.

        Raises:
            DatabaseUnavailable: It does not.
        """
        with self._asking() as connection:
            connection.execute(select(1))

    def failed_by_queue(self) -> dict[str, int]:
        """How many failed jobs each queue has; one of no queue is filed under the empty name.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.period_totals.c
        statement = select(own.name, func.sum(own.n)).group_by(own.name)
        statement = statement.where(own.kind == FAILURES.kind, own.period == DAY)
        with self._asking() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(statement)}
        # That of the empty name is of all queues together.
        all_together = found.pop(EVERYTHING, 0)
        of_none = all_together - sum(found.values())
        return {name: count for name, count in {EVERYTHING: of_none, **found}.items() if count}

    def newest(self) -> datetime | None:
        """When the newest row was written, of a run or of a job; None: there is none.

        Of the jobs, the newest that was inserted: a run changes with each of its jobs.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        newest = (
            select(func.max(self._tables.command_metrics.c.updated_at)),
            select(func.max(self._tables.job_metrics.c.created_at)),
        )
        with self._asking() as connection:
            found: list[datetime | None] = [connection.scalar(one) for one in newest]
        return max((one for one in found if one is not None), default=None)

    def failed_jobs(
        self, offset: int, limit: int, *, process_id: str | None = None
    ) -> Page[FailedRow]:
        """A page of those that are failed now, the newest failure first."""
        return self._page(self._failed, {"process_id": process_id}, offset, limit)

    def failed_job(self, given: str) -> FailedDetail | None:
        """The failed job of that number, else the newest failure of that engine's id."""
        own = self._tables.failed_jobs.c
        rows = select(
            *(own.id, own.uuid, own.process_id, own.connection, own.payload),
            own.message.is_not(None),
        )
        rows = rows.order_by(own.failed_at.desc(), own.id.desc()).limit(1)
        with self._asking() as connection:
            found = None
            if given.isascii() and given.isdigit() and int(given) <= _HIGHEST_ID:
                found = connection.execute(rows.where(own.id == int(given))).first()
            found = found or connection.execute(rows.where(own.uuid == given)).first()
        return None if found is None else FailedDetail(*found[:-1], has_message=bool(found[-1]))

    def runs(self, command: str | None, since: datetime, offset: int, limit: int) -> Page[RunRow]:
        """A page of the runs that began since then, the newest first."""
        return self._page(self._runs, {"since": since, "command_name": command}, offset, limit)

    def newest_runs(self, command: str | None, since: datetime, limit: int) -> list[RunRow]:
        """The newest of them."""
        with self._asking() as connection:
            asked = {"since": since, "command_name": command}
            return self._runs.newest(connection, asked, limit)

    def run_summary(self, since: datetime, command: str | None) -> RunSummary:
        """Of the runs that began since then."""
        runs, _, total_us, memory, _, _ = self._summed(RUNS, since, command)
        return RunSummary(runs, total_us / runs / 1e6, memory) if runs else RunSummary()

    def run(self, process_id: str) -> RunDetail | None:
        """One run."""
        own = self._tables.command_metrics.c
        rows = select(*(own[name] for name in RunDetail._fields))
        with self._asking() as connection:
            found = connection.execute(rows.where(own.process_id == process_id)).first()
        return None if found is None else RunDetail(*found)

    def jobs(
        self,
        since: datetime,
        offset: int,
        limit: int,
        *,
        process_id: str | None = None,
        command: str | None = None,
        status: str | None = None,
    ) -> Page[JobRow]:
        """A page of the jobs that ended since then, the last to end first."""
        asked = {"process_id": process_id, "command_name": command, "status": status}
        return self._page(self._jobs, {"since": since, **asked}, offset, limit)

    def newest_jobs(
        self, since: datetime, limit: int, *, command: str | None = None
    ) -> list[JobRow]:
        """The last to end of them."""
        with self._asking() as connection:
            asked = {"since": since, "command_name": command}
            return self._jobs.newest(connection, asked, limit)

    def job_statistics(
        self, since: datetime, *, process_id: str | None = None, command: str | None = None
    ) -> JobStatistics:
        """Of the jobs that ended since then."""
        if process_id is not None:
            return self._statistics_of_run(since, process_id, command)
        jobs, failed, time_us, memory, queue_us, queued = self._summed(JOBS, since, command)
        if not jobs:
            return JobStatistics()
        return JobStatistics(
            total_jobs=jobs,
            success_jobs=jobs - failed,
            failed_jobs=failed,
            avg_execution_time=time_us / jobs / 1e6,
            avg_queue_time=queue_us / queued / 1e6 if queued else 0.0,
            avg_memory_usage=memory / jobs,
        )

    def job(self, job_id: str, process_id: str | None = None) -> JobDetail | None:
        """One job; of several runs' jobs of that id, the last to end."""
        own = self._tables.job_metrics.c
        rows = select(*(own[name] for name in JobDetail._fields)).where(own.job_id == job_id)
        if process_id is not None:
            rows = rows.where(own.process_id == process_id)
        rows = rows.order_by(own.finished_at.desc(), own.id.desc()).limit(1)
        with self._asking() as connection:
            found = connection.execute(rows).first()
        return None if found is None else JobDetail(*found)

    def attempts(self, process_id: str, job_id: str) -> list[AttemptRow]:
        """The attempts of a job that others followed, the first one first."""
        own = self._tables.job_attempts.c
        rows = select(*(own[name] for name in AttemptRow._fields))
        rows = rows.where(own.process_id == process_id, own.job_id == job_id)
        with self._asking() as connection:
            return [AttemptRow(*one) for one in connection.execute(rows.order_by(own.attempt))]

    def anomalies(
        self,
        since: datetime,
        offset: int,
        limit: int,
        *,
        command: str | None = None,
        severity: str | None = None,
        state: str | None = None,
    ) -> Page[AnomalyRow]:
        """A page of those found since then, the newest first."""
        asked = {"since": since, "command_name": command, "severity": severity, "state": state}
        return self._page(self._anomalies, asked, offset, limit)

    def _page(
        self, pages: Pages[T], asked: Mapping[str, object], offset: int, limit: int
    ) -> Page[T]:
        with self._asking(at_one_moment=offset > 0) as connection:
            return pages.page(connection, asked, offset, limit)

    def _summed(self, counted: Counted, since: datetime, command: str | None) -> list[int]:
        """Rows, failed ones, µs, bytes, µs in queues, and rows of which those are known."""
        values = {"since": since} if command is None else {"since": since, "command_name": command}
        statement = self._sums[counted, *values]
        with self._asking() as connection:
            return [int(one) for one in connection.execute(statement, values).one()]

    def _statistics_of_run(
        self, since: datetime, process_id: str, command: str | None
    ) -> JobStatistics:
        own = self._tables.job_metrics.c
        failed = func.coalesce(func.sum(case((own.status == "failed", 1), else_=0)), 0)
        averages = (func.avg(own[one]) for one in ("execution_time", "queue_time", "memory_usage"))
        rows = select(func.count(), failed, *averages)
        rows = rows.where(own.process_id == process_id, own.finished_at >= since)
        if command is not None:
            rows = rows.where(own.command_name == command)
        with self._asking() as connection:
            found = [float(one or 0) for one in connection.execute(rows).one()]
        jobs, bad = int(found[0]), int(found[1])
        return JobStatistics(jobs, jobs - bad, bad, *found[2:])

    @contextmanager
    def _asking(self, *, at_one_moment: bool = False) -> Generator[Connection]:
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection, at_one_moment=at_one_moment)
            yield connection
