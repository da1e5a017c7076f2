"""Who may run a failed job again: a claim on its row of ``failed_jobs``, made in one statement.

A claim is of one attempt. It is released where nothing was pushed, and goes with the row where
something was; one whose holder died is judged by :mod:`jobmon.retry.pusher`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from jobmon.history import database
from jobmon.history.totals import FAILURES, Totals

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from jobmon.history.schema import Tables

LONGEST_WHO: Final = 100
"""Characters kept of whoever asks."""
_HIGHEST_ID: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_LONGEST_ID: Final = 255


class Claim(NamedTuple):
    """On one attempt of a job."""

    token: str
    """Of the call that made it: jobs claimed together have the same."""
    who: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of ``failed_jobs``, with what runs the job again."""

    given: str
    """How whoever asks named it."""
    id: int
    job_id: str
    process_id: str
    command: str
    engine: str
    queue: str
    job_name: str
    app: str
    attempt: int
    """That failed."""
    message: bytes | None
    claimed_at: datetime | None
    claimed_by: str

    @property
    def claim(self) -> Claim | None:
        """Whoever has it in hand; a claim on an earlier attempt is none."""
        token, _, rest = self.claimed_by.partition(" ")
        attempt, _, who = rest.partition(" ")
        if self.claimed_at is None or attempt != str(self.attempt):
            return None
        return Claim(token, who, self.claimed_at)


class FailedJob(NamedTuple):
    """A row of ``failed_jobs`` for people to choose from."""

    id: int
    uuid: str
    """The engine's id of the job."""
    connection: str
    """The engine."""
    queue: str
    job_class: str | None
    command_name: str
    process_id: str
    attempts: int
    exception: str
    failed_at: datetime


class Counts(NamedTuple):
    """Of the failed jobs of a run."""

    tried: int
    """Rows up to the one that was asked about."""
    untried: int
    last: int
    """Highest row, 0 without any."""


class Claims:
    """The rows of ``failed_jobs``, for whoever changes them. Safe to share between threads."""

    def __init__(self, engine: Engine, tables: Tables) -> None:
        self._engine = engine
        self._table = tables.failed_jobs
        self._totals = Totals(engine.dialect, tables)
        columns = self._table.c
        self._columns = (
            *(columns.id, columns.uuid, columns.process_id, columns.command_name),
            *(columns.connection, columns.queue, columns.job_class, columns.app),
            *(columns.attempts, columns.message, columns.claimed_at, columns.claimed_by),
        )

    def find(self, given: str) -> Failure | None:
        """A failed job by the number of its row, else by its own id, the newest of that.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        statement = sa.select(*self._columns)
        with self._reading() as connection:
            row = None
            if _NUMBER.fullmatch(given) and int(given) <= _HIGHEST_ID:
                row = connection.execute(statement.where(columns.id == int(given))).first()
            if row is None and 0 < len(given) <= _LONGEST_ID and "\0" not in given:
                newest = statement.order_by(columns.failed_at.desc(), columns.id.desc()).limit(1)
                row = connection.execute(newest.where(columns.uuid == given)).first()
        return None if row is None else _failure(row, given)

    def newest(
        self, limit: int, *, process_id: str | None = None, command: str | None = None
    ) -> list[FailedJob]:
        """The failed jobs of a run, of a command, or all, newest first.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        statement = sa.select(*(columns[name] for name in FailedJob._fields))
        if process_id is not None:
            statement = statement.where(columns.process_id == process_id)
        if command is not None:
            statement = statement.where(columns.command_name == command)
        newest = statement.order_by(columns.failed_at.desc(), columns.id.desc()).limit(limit)
        with self._reading() as connection:
            return [FailedJob(*row) for row in connection.execute(newest)]

    def page(self, process_id: str | None, after: int, last: int, limit: int) -> list[Failure]:
        """Failed jobs in the order of their rows.

        Args:
            process_id: Of their run; None: of all.
            after: The last row of the page before.
            last: Highest row.
            limit: Most of them.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        statement = sa.select(*self._columns).where(columns.id > after, columns.id <= last)
        if process_id is not None:
            statement = statement.where(columns.process_id == process_id)
        with self._reading() as connection:
            found = connection.execute(statement.order_by(columns.id).limit(limit))
            return [_failure(row) for row in found]

    def count(self, process_id: str | None, after: int = 0, last: int = _HIGHEST_ID) -> Counts:
        """How many failed jobs a run has; None: how many there are.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        tried = sa.func.coalesce(sa.func.sum(sa.case((columns.id <= after, 1), else_=0)), 0)
        statement = sa.select(
            tried, sa.func.count(), sa.func.coalesce(sa.func.max(columns.id), 0)
        ).where(columns.id <= last)
        if process_id is not None:
            statement = statement.where(columns.process_id == process_id)
        with self._reading() as connection:
            done, many, highest = connection.execute(statement).one()
        return Counts(int(done), many - int(done), highest)

    def engines(self, process_id: str) -> dict[str, int]:
        """Those of a run's failed jobs, each with its newest row.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        statement = (
            sa.select(columns.connection, sa.func.max(columns.id))
            .where(columns.process_id == process_id)
            .group_by(columns.connection)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(statement)}

    def older_than(self, moment: datetime, after: int, limit: int) -> list[Failure]:
        """Rows after one that were claimed before a moment.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        columns = self._table.c
        statement = (
            sa.select(*self._columns)
            .where(columns.claimed_at < moment, columns.id > after)
            .order_by(columns.id)
            .limit(limit)
        )
        with self._reading() as connection:
            return [_failure(row) for row in connection.execute(statement)]

    def claim(self, failures: Sequence[Failure], claim: Claim) -> list[Failure]:
        """Claim rows that are still as they were seen; gives those that are claimed now.

        Raises:
            DatabaseUnavailable: Nothing was claimed.
        """
        claimed: list[Failure] = []
        with self._writing() as connection:
            for one in failures:
                mark = f"{claim.token} {one.attempt} {claim.who[:LONGEST_WHO]}"
                values = {"claimed_at": claim.at, "claimed_by": mark}
                statement = sa.update(self._table).where(self._as_seen(one)).values(values)
                if connection.execute(statement).rowcount:
                    claimed.append(replace(one, **values))
        return claimed

    def release(self, failures: Sequence[Failure]) -> None:
        """Give back what is claimed as it was seen; what is not is left alone.

        Raises:
            DatabaseUnavailable: They stay claimed.
        """
        if failures:
            with self._writing() as connection:
                statement = sa.update(self._table).where(self._are_as_seen(failures))
                connection.execute(statement.values(claimed_at=None, claimed_by=None))

    def remove(self, failures: Sequence[Failure]) -> int:
        """Delete rows that are still as they were seen; gives how many were.

        Raises:
            DatabaseUnavailable: They stay.
        """
        if not failures:
            return 0
        condition = self._are_as_seen(failures)
        with self._writing() as connection:
            return len(self._totals.delete(connection, self._table, FAILURES, condition))

    def _are_as_seen(self, failures: Sequence[Failure]) -> sa.ColumnElement[bool]:
        return sa.or_(*map(self._as_seen, failures))

    def _as_seen(self, failure: Failure) -> sa.ColumnElement[bool]:
        """Of several that saw the same row, one changes it."""
        columns = self._table.c
        return sa.and_(
            columns.id == failure.id,
            columns.attempts == failure.attempt,
            sa.func.coalesce(columns.claimed_by, "") == failure.claimed_by,
        )

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with database.answering(self._engine), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        with database.answering(self._engine), database.writing(self._engine) as connection:
            yield connection


def _failure(row: Any, given: str = "") -> Failure:
    number, job_id, process_id, command, engine, queue, name, app, attempt, message, at, by = row
    return Failure(
        given or str(number),
        *(number, job_id, process_id, command, engine, queue),
        *(name or "", app, attempt, message),
        at.astimezone(UTC) if at is not None else None,
        by or "",
    )
