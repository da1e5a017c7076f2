"""The runs of each command as the analysis reads them, and its note of which it has judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
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
RARE_RUNS: Final = 20
"""Of a command that has fewer in the time that is asked for, so many are read of a year more."""
YEAR: Final = timedelta(days=365)
_DAYS_BEFORE: Final = (1, 2, 3, 7, 14)
"""On which a command that runs often is looked at: the last ones, and this weekday."""
_ASKED_BEFORE: Final = timedelta(days=14)
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
    next_starts: Mapping[int, float] = field(default_factory=dict[int, float])
    """By days: when the run started that came next after the time of day of the last one so many
    days before, so many days later, in Unix seconds. Of a command whose runs here are those of
    less than two weeks; without days before its first run."""

    @classmethod
    def empty(cls, key: CommandKey) -> Window:
        """Of a command without runs."""
        nothing = np.zeros(0, dtype=np.bool_)
        return cls(key, (), np.empty((0, 7)), nothing, nothing, (), False)


class Ran(NamedTuple):
    """A command that ran."""

    command: str
    days: int
    """On which it did."""
    last_day: datetime
    """The last of them."""


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
        key = sa.and_(
            own.command_name == sa.bindparam("command"),
            own.app == sa.bindparam("app"),
            own.environment == sa.bindparam("environment"),
        )
        newest = (
            sa.select(
                *(own.app, own.environment, own.id, own.started_at, own.total_time, own.duration),
                *(own.job_count, own.failed_jobs, own.peak_memory, own.queue_time),
                *(is_drained, own.partial, sa.case((is_new, own.process_id)), own.version),
            )
            .where(own.command_name == sa.bindparam("command"))
            .where(own.started_at >= sa.bindparam("since"))
            .order_by(own.started_at.desc(), own.id.desc())
            .limit(sa.bindparam("most"))
        )
        self._newest = newest
        self._newest_of = newest.where(key)
        starts = sa.select(own.started_at).where(key).order_by(own.started_at).limit(1)
        self._next_starts = sa.select(
            *(
                starts.where(own.started_at >= sa.bindparam(name)).scalar_subquery()
                for name in ("since", *(f"before_{days}" for days in _DAYS_BEFORE))
            )
        )

    def commands(self, since: datetime) -> list[Ran]:
        """Those that ran since a year before a midnight in UTC, by their names.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._sums.c
        statement = sa.select(own.name, sa.func.count(), sa.func.max(own.begins_at))
        statement = statement.where(own.kind == RUNS.kind, own.period == DAY)
        statement = statement.where(own.name != EVERYTHING, own.begins_at >= since - YEAR)
        statement = statement.group_by(own.name).order_by(own.name)
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return [Ran(*row) for row in connection.execute(statement)]

    def keys(self, since: datetime, commands: Sequence[str] | None = None) -> list[CommandKey]:
        """Keys of runs that started since, of some commands or of all: reads every such run.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._runs.c
        statement = sa.select(own.app, own.environment, own.command_name).distinct()
        statement = statement.where(own.started_at >= since)
        found: list[CommandKey] = []
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            for some in (None,) if commands is None else chunks(commands, _ASKED):
                asked = statement if some is None else statement.where(own.command_name.in_(some))
                found += (CommandKey(*row) for row in connection.execute(asked))
        return found

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
            since: Runs that started before are left out, but for some of the year before it where
                there are few.
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
            rows = self._rows(connection, self._newest, asked)
            keys = {CommandKey(row[0], row[1], command) for row in rows}.union(known)
            if len(keys) == 1:
                return [self._window(connection, keys.pop(), rows, since)]
            # Those of one that runs often hide its namesake's of a year.
            is_busy = len(rows) == MOST_RUNS
            found: list[Window] = []
            for key in sorted(keys):
                own = asked | {"app": key.app, "environment": key.environment}
                rows = self._rows(connection, self._newest_of, own, looks_back=not is_busy)
                found.append(self._window(connection, key, rows, since))
            return found
        except DBAPIError as error:
            if database.is_away(error):
                raise
            return error

    def _rows(
        self,
        connection: sa.Connection,
        newest: sa.Select[Any, *tuple[Any, ...]],
        asked: Mapping[str, Any],
        *,
        looks_back: bool = True,
    ) -> Sequence[sa.Row[Any, *tuple[Any, ...]]]:
        rows = connection.execute(newest, {**asked, "most": MOST_RUNS}).all()
        if len(rows) >= RARE_RUNS or not looks_back:
            return rows
        earlier = {"since": asked["since"] - YEAR, "most": RARE_RUNS}
        return connection.execute(newest, {**asked, **earlier}).all()

    def _window(
        self,
        connection: sa.Connection,
        key: CommandKey,
        rows: Sequence[sa.Row[Any, *tuple[Any, ...]]],
        since: datetime,
    ) -> Window:
        window = _window(key, rows)
        if not window.is_full or rows[0].started_at - rows[-1].started_at >= _ASKED_BEFORE:
            return window
        last = rows[0].started_at
        # Runs are not on time to the second: the one at this time of day is not the next.
        usual = timedelta(seconds=max(60.0, float(np.median(np.diff(window.numbers[-60:, 0])))))
        before = {days: last + usual - timedelta(days=days) for days in _DAYS_BEFORE}
        asked = {f"before_{days}": moment for days, moment in before.items()}
        first, *nexts = connection.execute(
            self._next_starts, {**key._asdict(), "since": since, **asked}
        ).one()
        return replace(
            window,
            next_starts={
                days: (start + timedelta(days=days)).timestamp()
                for (days, moment), start in zip(before.items(), nexts, strict=True)
                if start is not None and first <= moment
            },
        )


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
        return Window.empty(key)
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
