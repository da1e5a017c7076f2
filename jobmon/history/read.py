"""The reading half of the history."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from jobmon.history import database

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from jobmon.history.schema import Tables


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
