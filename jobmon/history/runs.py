"""The runs of each command as the analysis reads them, and its note of which it has judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import DBAPIError

from jobmon.history import database
from jobmon.history.totals import DAY, EVERYTHING, RUNS
from jobmon.store.chunks import chunks

if TYPE_CHECKING:
    from jobmon.history.schema import Tables

MOST_RUNS: Final = 300
"""Of one command that are read: the newest."""
COMMANDS: Final = 100
"""Whose runs are in memory at a time."""
_ASKED: Final = 500
_UNKNOWN: Final = float("nan")

Floats: TypeAlias = NDArray[np.float64]


class CommandKey(NamedTuple):
    """What makes two runs comparable."""

    app: str
    environment: str
    command: str


class Unjudged(NamedTuple):
    """A run that nobody has judged since it was written last."""

    place: int
    """Its index among the runs of its window."""
    id: int
    """Number of its row."""
    process_id: str
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The newest runs of one command, the oldest first."""

    key: CommandKey
    ids: Sequence[int]
    """Numbers of their rows."""
    numbers: Floats
    """A row for each: start in Unix seconds, total_time, duration, job_count, failed_jobs,
    peak_memory and queue_time; NaN where one is unknown."""
    is_drained: NDArray[np.bool_]
    """Whether it has ended, with all its jobs."""
    is_partial: NDArray[np.bool_]
    """Whether only a part of it was seen."""
    unjudged: Sequence[Unjudged]
    """Those of the drained ones, the oldest first."""
    is_full: bool
    """Older ones were left out."""


class RunValues(NamedTuple):
    """A run as ``command-metrics`` shows it, and what leads to it elsewhere."""

    process_id: str
    command_name: str
    source: str
    total_time: float
    job_count: int
    success_jobs: int
    failed_jobs: int
    avg_job_time: float
    peak_memory: int
    run_date: date
    trace_id: str | None


class Judged(NamedTuple):
    """A run that was judged: what is noted of it."""

    id: int
    version: int
    """At which it was read: a later one is judged once more."""
    queue_time: float | None


class RunReader:
    """Reads what is judged. Safe to share between threads.

    Whatever asks the database raises `DatabaseUnavailable` where it cannot be asked.
    """

    def __init__(self, engine: sa.Engine, tables: Tables) -> None:
        self._engine = engine
        self._runs = tables.command_metrics
        self._jobs = tables.job_metrics
        self._sums = tables.period_totals
        own = self._runs.c
        is_drained = own.drained_at.is_not(None)
        is_new = sa.and_(is_drained, own.analyzed_at.is_(None))
        newest = (
            sa.select(
                *(own.app, own.environment, own.id, own.started_at, own.total_time, own.duration),
                *(own.job_count, own.failed_jobs, own.peak_memory, own.queue_time),
                *(is_drained, own.partial, sa.case((is_new, own.process_id)), own.version),
            )
            .where(own.command_name == sa.bindparam("command"))
            .where(own.started_at >= sa.bindparam("since"))
            .order_by(own.started_at.desc(), own.id.desc())
            .limit(MOST_RUNS)
        )
        self._newest = newest
        self._newest_of = newest.where(
            own.app == sa.bindparam("app"), own.environment == sa.bindparam("environment")
        )

    def commands(self, since: datetime) -> list[str]:
        """Names of those that ran since a midnight in UTC, in their order.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._sums.c
        statement = sa.select(own.name).distinct().order_by(own.name)
        statement = statement.where(own.kind == RUNS.kind, own.period == DAY)
        statement = statement.where(own.name != EVERYTHING, own.begins_at >= since)
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return list(connection.execute(statement).scalars())

    def unjudged(self) -> list[CommandKey]:
        """Commands of which a run has drained that was not judged since.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._runs.c
        statement = sa.select(own.app, own.environment, own.command_name).distinct()
        statement = statement.where(own.analyzed_at.is_(None), own.drained_at.is_not(None))
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return [CommandKey(*row) for row in connection.execute(statement)]

    def windows(
        self,
        commands: Iterable[str],
        since: datetime,
        known: Mapping[str, Iterable[CommandKey]] | None = None,
    ) -> list[tuple[str, list[Window] | DBAPIError]]:
        """The runs of these commands, all in memory: of at most `COMMANDS`.

        Several applications, or environments, may have a command of the same name. One of which
        all runs are older than `MOST_RUNS` of the others is found if it is ``known``.

        Args:
            commands: Their names.
            since: Runs that started before are left out.
            known: Some of the keys of a name.

        Returns:
            For each name a window for each of its keys, or what the database said instead.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return [
                (name, self._windows(connection, name, since, (known or {}).get(name, ())))
                for name in commands
            ]

    def values(self, ids: Iterable[int]) -> dict[int, RunValues]:
        """Runs by the numbers of their rows; those that are gone are left out.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._runs.c
        wanted = sa.select(own.id, *(own[name] for name in RunValues._fields))
        found: dict[int, RunValues] = {}
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            for some in chunks(list(ids), _ASKED):
                for row in connection.execute(wanted.where(own.id.in_(some))):
                    found[row[0]] = RunValues._make(row[1:])
        return found

    def queue_times(self, process_ids: Iterable[str]) -> dict[str, float]:
        """Mean seconds that the jobs of runs waited in their queues, where that is known.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._jobs.c
        mean = sa.select(own.process_id, sa.func.avg(own.queue_time)).group_by(own.process_id)
        found: dict[str, float] = {}
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            for some in chunks(list(process_ids), _ASKED):
                for process_id, seconds in connection.execute(mean.where(own.process_id.in_(some))):
                    if seconds is not None:
                        found[process_id] = float(seconds)
        return found

    def _windows(
        self,
        connection: sa.Connection,
        command: str,
        since: datetime,
        known: Iterable[CommandKey],
    ) -> list[Window] | DBAPIError:
        asked: dict[str, Any] = {"command": command, "since": since}
        try:
            rows = connection.execute(self._newest, asked).all()
            keys = {CommandKey(row[0], row[1], command) for row in rows}.union(known)
            if len(keys) == 1:
                return [_window(keys.pop(), rows)]
            found: list[Window] = []
            for key in sorted(keys):
                own = asked | {"app": key.app, "environment": key.environment}
                found.append(_window(key, connection.execute(self._newest_of, own).all()))
            return found
        except DBAPIError as error:
            if database.is_away(error):
                raise
            return error


def note(connection: sa.Connection, tables: Tables, judged: Sequence[Judged], at: datetime) -> None:
    """Note that runs were judged, those that have not changed since they were read."""
    runs = tables.command_metrics
    if not judged:
        return
    statement = sa.update(runs).where(
        runs.c.id == sa.bindparam("own_id"), runs.c.version == sa.bindparam("own_version")
    )
    connection.execute(
        statement.values(analyzed_at=sa.bindparam("at"), queue_time=sa.bindparam("queue")),
        [
            {"own_id": one.id, "own_version": one.version, "at": at, "queue": one.queue_time}
            for one in judged
        ],
    )


def pass_over(
    connection: sa.Connection, tables: Tables, before: datetime, key: CommandKey | None, most: int
) -> int:
    """Note as judged some runs that started before a moment, of one command or of all."""
    own = tables.command_metrics.c
    ids = sa.select(own.id).where(own.analyzed_at.is_(None), own.drained_at.is_not(None))
    ids = ids.where(own.started_at < before)
    if key is not None:
        ids = ids.where(own.command_name == key.command)
        ids = ids.where(own.app == key.app, own.environment == key.environment)
    found = list(connection.execute(ids.limit(most)).scalars())
    if found:
        statement = sa.update(tables.command_metrics).where(own.id.in_(found))
        connection.execute(statement.values(analyzed_at=own.drained_at))
    return len(found)


def _window(key: CommandKey, rows: Sequence[Sequence[Any]]) -> Window:
    if not rows:
        nothing = np.zeros(0, dtype=np.bool_)
        return Window(key, (), np.empty((0, 7)), nothing, nothing, (), False)
    # The newest come first.
    _, _, ids, starts, *columns, drained, partial, process_ids, versions = zip(
        *reversed(rows), strict=True
    )
    numbers = np.array([[one.timestamp() for one in starts], *columns], dtype=np.float64).T
    memory = numbers[:, 5]
    memory[memory <= 0] = _UNKNOWN
    unjudged = [
        Unjudged(place, ids[place], process_id, versions[place])
        for place, process_id in enumerate(process_ids)
        if process_id is not None
    ]
    return Window(
        key,
        ids,
        numbers,
        np.array(drained, dtype=np.bool_),
        np.array(partial, dtype=np.bool_),
        unjudged,
        len(rows) == MOST_RUNS,
    )
