"""Deletes rows of the history that are older than it is to be kept, a few at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from jobmon.history.database import is_in_the_way, writing
from jobmon.history.totals import JOBS, RUNS, Counted, Totals

if TYPE_CHECKING:
    from jobmon.history.schema import Tables
    from jobmon.settings import Settings

ROWS: Final = 1000
"""Deleted in one transaction, at most."""
PAUSE_SECONDS: Final = 0.05
"""After each of them, in which others have the database to themselves."""
_WINDOW: Final = 20_000
"""Numbers of rows that one query looks at where no index leads to the old ones."""
_DAY_SECONDS: Final = 86_400.0
_AGAIN_SECONDS: Final = 3600.0
_MOST_TRIES: Final = 5

_T = TypeVar("_T")
_log: Final = logging.getLogger("jobmon.retention")


class _Old(NamedTuple):
    """A kind of old rows."""

    table: sa.Table
    condition: sa.ColumnElement[bool]
    is_indexed: bool
    """False: found by walking through the table."""
    counted: Counted | None = None
    """How there are sums over its rows; None: there are none."""


class Retention:
    """Prunes once a day."""

    def __init__(
        self, engine: sa.Engine, tables: Tables, settings: Settings, stop: threading.Event
    ) -> None:
        """Make it.

        Args:
            engine: Of the database.
            tables: Its tables.
            settings: ``history.retention_days``.
            stop: Once set, nothing further is deleted.
        """
        self._engine = engine
        self._tables = tables
        self._days = settings.history.retention_days
        self._stop = stop
        self._next_at = float("-inf")

    def turn(self) -> None:
        """Prune if it is time to; after a failure an hour later.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database refuses, or cannot be reached.
        """
        now = time.monotonic()
        if not self._days or now < self._next_at:
            return
        self._next_at = now + _AGAIN_SECONDS
        pruned = prune(self._engine, self._tables, self._days, stop=self._stop)
        self._next_at = now + _DAY_SECONDS
        if any(pruned.values()):
            told = ", ".join(f"{count} of {name}" for name, count in pruned.items())
            _log.info("deleted rows older than %d days: %s", self._days, told)


def prune(
    engine: sa.Engine,
    tables: Tables,
    days: int,
    *,
    now: datetime | None = None,
    stop: threading.Event | None = None,
) -> dict[str, int]:
    """Delete runs, jobs, attempts and anomalies older than that, oldest numbers first.

    A row is as old as its ``finished_at``, else its ``started_at``, else its ``created_at``; an
    anomaly as its end, with its events; one that is not over stays. What is deleted leaves the
    sums with it.
    Transactions are short, and killed anywhere, it is begun again.

    Args:
        engine: Of the database.
        tables: Its tables.
        days: How old they may become.
        now: Instead of this machine's clock.
        stop: Once set, nothing further is deleted.

    Returns:
        How many rows were deleted, by table.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The database refuses, or cannot be reached.
    """
    stop = stop or threading.Event()
    cutoff = (now or datetime.now(UTC)) - timedelta(days=days)
    totals = Totals(engine.dialect, tables)
    pruned: dict[str, int] = {}
    for old in _all_old(tables, cutoff):
        name = old.table.name
        pruned[name] = 0
        for ids in _found(engine, old):
            pruned[name] += _patiently(engine, stop, _Deletion(old, ids, totals))
            if stop.wait(PAUSE_SECONDS):
                return pruned
    _patiently(engine, stop, lambda connection: totals.forget(connection, cutoff))
    return pruned


def _all_old(tables: Tables, cutoff: datetime) -> list[_Old]:
    jobs, runs, attempts = (
        one.c for one in (tables.job_metrics, tables.command_metrics, tables.job_attempts)
    )
    anomalies, events = tables.anomalies.c, tables.anomaly_events.c
    first = sa.func.coalesce
    return [
        # Far more rows than elsewhere: the index tells the old ones.
        _Old(tables.job_metrics, jobs.finished_at < cutoff, True, JOBS),
        _Old(
            tables.command_metrics, first(runs.finished_at, runs.started_at) < cutoff, False, RUNS
        ),
        _Old(
            tables.job_attempts,
            first(attempts.finished_at, attempts.started_at, attempts.created_at) < cutoff,
            False,
        ),
        # Before its events, which go once there is nothing any more that they tell of.
        _Old(
            tables.anomalies,
            sa.and_(
                first(anomalies.resolved_at, anomalies.last_seen_at, anomalies.detected_at)
                < cutoff,
                anomalies.state != "open",
            ),
            False,
        ),
        _Old(
            tables.anomaly_events,
            sa.and_(
                events.created_at < cutoff,
                ~sa.exists().where(anomalies.anomaly_id == events.anomaly_id),
            ),
            False,
        ),
        _Old(
            tables.anomaly_deliveries,
            ~sa.exists().where(events.event_id == tables.anomaly_deliveries.c.event_id),
            False,
        ),
    ]


def _found(engine: sa.Engine, old: _Old) -> Iterator[list[int]]:
    """Numbers of old rows, page by page. Each page is to be deleted before the next."""
    number = old.table.c.id
    if old.is_indexed:
        # In the order of the index, lest a planner reads the table, from its beginning each time.
        by_age = old.table.c.finished_at, number
        wanted = sa.select(number).where(old.condition).order_by(*by_age).limit(ROWS)
        tried: list[int] = []
        while (ids := _numbers(engine, wanted)) and ids != tried:
            yield ids
            tried = ids
        return
    with engine.connect() as reading:
        least, most = reading.execute(sa.select(sa.func.min(number), sa.func.max(number))).one()
    if least is None:
        return
    for start in range(least, most + 1, _WINDOW):
        within = number.between(start, start + _WINDOW - 1)
        ids = _numbers(engine, sa.select(number).where(within, old.condition))
        for at in range(0, len(ids), ROWS):
            yield ids[at : at + ROWS]


def _numbers(engine: sa.Engine, wanted: sa.Select[Any]) -> list[int]:
    with engine.connect() as reading:
        return list(reading.execute(wanted).scalars())


class _Deletion:
    """Some old rows that go, also out of the sums; says how many went."""

    def __init__(self, old: _Old, ids: list[int], totals: Totals) -> None:
        self._old = old
        self._totals = totals
        # Its age again: a job that was run once more since is no longer old.
        self._still_old = sa.and_(old.table.c.id.in_(ids), old.condition)

    def __call__(self, connection: sa.Connection) -> int:
        table, counted = self._old.table, self._old.counted
        if counted is not None:
            return len(self._totals.delete(connection, table, counted, self._still_old))
        return connection.execute(sa.delete(table).where(self._still_old)).rowcount


def _patiently(engine: sa.Engine, stop: threading.Event, work: Callable[[sa.Connection], _T]) -> _T:
    """Do it in a transaction, and again where somebody else's was in the way."""
    for tries_left in range(_MOST_TRIES - 1, -1, -1):
        try:
            with writing(engine) as connection:
                return work(connection)
        except DBAPIError as error:
            if not tries_left or not is_in_the_way(error) or stop.wait(PAUSE_SECONDS):
                raise
    raise AssertionError("unreachable")
