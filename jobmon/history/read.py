"""The reading half of the history."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import case, func, select
from sqlalchemy.exc import DBAPIError

from jobmon.history import database
from jobmon.history.found import (
    AnomalyRow,
    AttemptRow,
    FailedRow,
    JobDetail,
    JobRow,
    JobStatistics,
    RunDetail,
    RunRow,
    RunSummary,
)
from jobmon.history.pages import Page

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

    from jobmon.history.schema import Tables

R = TypeVar("R")

_MOST: Final = 2**63 - 1


class HistoryReader:
    """Reads what the server shows. Safe to share between threads."""

    def __init__(self, engine: Engine, tables: Tables) -> None:
        self._engine = engine
        self._tables = tables

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
        columns = self._tables.failed_jobs.c
        statement = select(columns.queue, func.count()).group_by(columns.queue)
        with self._asking() as connection:
            return {row[0]: row[1] for row in connection.execute(statement)}

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
        """Failed jobs, newest first."""
        table = self._tables.failed_jobs
        wanted = _where(table, process_id=process_id)
        return self._page(FailedRow, table, wanted, table.c.failed_at, offset, limit)

    def failed_job(self, given: str) -> FailedRow | None:
        """One by its number, else the newest of an engine's id."""
        table = self._tables.failed_jobs
        found: list[FailedRow] = []
        if given.isdecimal() and int(given) <= _MOST:
            found = self._rows(FailedRow, table, [table.c.id == int(given)], table.c.failed_at, 1)
        if not found:
            wanted = [table.c.uuid == given]
            found = self._rows(FailedRow, table, wanted, table.c.failed_at, 1)
        return found[0] if found else None

    def runs(self, command: str | None, since: datetime, offset: int, limit: int) -> Page[RunRow]:
        """Runs that started since then, newest first."""
        table = self._tables.command_metrics
        wanted = [table.c.started_at >= since, *_where(table, command_name=command)]
        return self._page(RunRow, table, wanted, table.c.started_at, offset, limit)

    def newest_runs(self, command: str, since: datetime, limit: int) -> list[RunRow]:
        """The first of `runs`."""
        table = self._tables.command_metrics
        wanted = [table.c.started_at >= since, *_where(table, command_name=command)]
        return self._rows(RunRow, table, wanted, table.c.started_at, limit)

    def run_summary(self, since: datetime, command: str | None) -> RunSummary:
        """What `runs` add up to."""
        columns = self._tables.command_metrics.c
        statement = select(
            func.count(), func.avg(columns.total_time), func.sum(columns.peak_memory)
        ).where(
            columns.started_at >= since,
            *_where(self._tables.command_metrics, command_name=command),
        )
        with self._asking() as connection:
            runs, mean, memory = connection.execute(statement).one()
        return RunSummary(runs, float(mean or 0), int(memory or 0))

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
        """Jobs that ended since then, newest first."""
        table = self._tables.job_metrics
        given = _where(table, process_id=process_id, command_name=command, status=status)
        wanted = [table.c.finished_at >= since, *given]
        return self._page(JobRow, table, wanted, table.c.finished_at, offset, limit)

    def newest_jobs(
        self, since: datetime, limit: int, *, command: str | None = None
    ) -> list[JobRow]:
        """The first of `jobs`."""
        table = self._tables.job_metrics
        wanted = [table.c.finished_at >= since, *_where(table, command_name=command)]
        return self._rows(JobRow, table, wanted, table.c.finished_at, limit)

    def job_statistics(
        self, since: datetime, *, process_id: str | None = None, command: str | None = None
    ) -> JobStatistics:
        """What `jobs` add up to."""
        columns = self._tables.job_metrics.c
        given = _where(self._tables.job_metrics, process_id=process_id, command_name=command)
        success = func.sum(case((columns.status == "success", 1), else_=0))
        statement = select(
            func.count(),
            success,
            func.avg(columns.execution_time),
            func.avg(columns.queue_time),
            func.avg(columns.memory_usage),
        ).where(columns.finished_at >= since, *given)
        with self._asking() as connection:
            total, succeeded, *means = connection.execute(statement).one()
        succeeded = int(succeeded or 0)
        return JobStatistics(total, succeeded, total - succeeded, *(float(m or 0) for m in means))

    def run(self, process_id: str) -> RunDetail | None:
        """One run."""
        table = self._tables.command_metrics
        wanted = [table.c.process_id == process_id]
        found = self._rows(RunDetail, table, wanted, table.c.started_at, 1)
        return found[0] if found else None

    def job(self, job_id: str, process_id: str | None = None) -> JobDetail | None:
        """One job; of several of one id the newest."""
        table = self._tables.job_metrics
        wanted = [table.c.job_id == job_id, *_where(table, process_id=process_id)]
        found = self._rows(JobDetail, table, wanted, table.c.finished_at, 1)
        return found[0] if found else None

    def attempts(self, process_id: str, job_id: str) -> list[AttemptRow]:
        """Earlier attempts of a job, oldest first."""
        table = self._tables.job_attempts
        wanted = _where(table, process_id=process_id, job_id=job_id)
        return self._rows(AttemptRow, table, wanted, table.c.attempt, 1000)[::-1]

    def anomalies(
        self,
        since: datetime,
        offset: int,
        limit: int,
        *,
        command: str | None = None,
        severity: str | None = None,
    ) -> Page[AnomalyRow]:
        """Deviations found since then, newest first."""
        table = self._tables.anomalies
        given = _where(table, command_name=command, severity=severity)
        wanted = [table.c.detected_at >= since, *given]
        return self._page(AnomalyRow, table, wanted, table.c.detected_at, offset, limit)

    def _page(
        self,
        kind: Callable[..., R],
        table: Table,
        wanted: list[ColumnElement[bool]],
        newest: Any,
        offset: int,
        limit: int,
    ) -> Page[R]:
        total = select(func.count()).select_from(table).where(*wanted)
        rows = _newest(kind, table, wanted, newest).limit(limit).offset(min(offset, _MOST))
        with self._asking() as connection:
            count: int = connection.scalar(total) or 0
            found = [kind(*row) for row in connection.execute(rows)] if offset < count else []
        return Page(found, count)

    def _rows(
        self,
        kind: Callable[..., R],
        table: Table,
        wanted: list[ColumnElement[bool]],
        newest: Any,
        limit: int,
    ) -> list[R]:
        statement = _newest(kind, table, wanted, newest).limit(limit)
        with self._asking() as connection:
            return [kind(*row) for row in connection.execute(statement)]

    @contextmanager
    def _asking(self) -> Generator[Connection]:
        with database.reached(self._engine):
            try:
                with self._engine.connect() as connection:
                    yield connection
            except DBAPIError as error:
                if not database.is_in_the_way(error):
                    raise
                raise database.DatabaseUnavailable(database.said(error)) from error


def _newest(kind: Any, table: Table, wanted: list[ColumnElement[bool]], newest: Any) -> Any:
    columns: list[Any] = [table.c[name] for name in kind._fields]
    return select(*columns).where(*wanted).order_by(newest.desc(), table.c.id.desc())


def _where(table: Table, **values: str | None) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items() if value is not None]
