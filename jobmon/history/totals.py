"""Keeps the sums over the rows of each hour and each day, so that no page counts rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import add
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.dml import Insert

    from jobmon.history.schema import Tables

HOUR: Final = "hour"
DAY: Final = "day"
EVERYTHING: Final = ""
"""In place of a name: all of them together."""
MOST: Final = 2**45
"""Most that one row adds to a sum, in µs (407 days) or bytes (32 TiB): what a worker claims must
not fill a column of 64 bits, or no row of that day could be written any more."""
_KEYS: Final = ("kind", "period", "name", "begins_at")
SUMS: Final = ("n", "failed", "time_us", "memory", "queue_us", "queue_n")
"""Rows, failed ones, µs, bytes, µs in queues, and rows of which those are known."""
_NOTHING: Final = (0,) * len(SUMS)
_FAILED: Final = frozenset({"failed", "lost"})
_HOUR_SECONDS: Final = 3600
_SUMMED: Final = 5
"""Columns of a table whose times and memory are summed."""
_NOTHING_SUMMED: Final[tuple[Any, ...]] = ("", 0.0, 0)


@dataclass(frozen=True, slots=True)
class Counted:
    """How the rows of one table are counted."""

    kind: str
    columns: tuple[str, ...]
    """What tells the moment and the name under which a row is filed; then, where these are summed,
    the status, the seconds and the bytes; then the seconds in a queue."""

    @property
    def at(self) -> str:
        """The column of the moment."""
        return self.columns[0]

    @property
    def name(self) -> str:
        """The column of the name."""
        return self.columns[1]


JOBS: Final = Counted(
    "job",
    ("finished_at", "command_name", "status", "execution_time", "memory_usage", "queue_time"),
)
RUNS: Final = Counted("run", ("started_at", "command_name", "status", "total_time", "peak_memory"))
FAILURES: Final = Counted("failed", ("failed_at", "queue"))


def filed(totals: Table, counted: Counted, period: str, *asked: str) -> list[ColumnElement[bool]]:
    """Which sums are of that kind of row.

    Args:
        totals: Their table.
        counted: How the rows are counted.
        period: ``HOUR`` or ``DAY``.
        asked: ``since`` and ``until``, between which they begin, and the column of the name that
            they are of; else they are of all together.
    """
    own = totals.c
    conditions = [
        own.kind == counted.kind,
        own.period == period,
        own.name == (bindparam(counted.name) if counted.name in asked else EVERYTHING),
    ]
    if "since" in asked:
        conditions.append(own.begins_at >= bindparam("since"))
    if "until" in asked:
        conditions.append(own.begins_at < bindparam("until"))
    return conditions


class Changes:
    """What one transaction changes of the sums."""

    def __init__(self) -> None:
        self._by_hour: dict[tuple[str, str, float], list[int]] = {}

    def add(self, counted: Counted, rows: Iterable[Sequence[Any]], times: int = 1) -> None:
        """Count rows.

        Args:
            counted: Of their table.
            rows: Of each the values of ``counted.columns``. One without a moment is in no page,
                nor in a sum.
            times: -1 for rows that are there no more.
        """
        # In one loop: a call for each takes as long as all the rest.
        kind, by_hour, waits = counted.kind, self._by_hour, len(counted.columns) > _SUMMED
        if len(counted.columns) < _SUMMED:
            rows = ((*row, *_NOTHING_SUMMED) for row in rows)
        for row in rows:
            at, name, status, seconds, size = row[:_SUMMED]
            if at is None:
                continue
            key = kind, name, at.timestamp() // _HOUR_SECONDS
            sums = by_hour.get(key)
            if sums is None:
                sums = by_hour[key] = [*_NOTHING]
            sums[0] += times
            if status in _FAILED:
                sums[1] += times
            # As a migration rounds, within the database.
            us = int(seconds * 1e6 + 0.5)
            sums[2] += times * (us if us < MOST else MOST)  # noqa: FURB136
            sums[3] += times * (size if size < MOST else MOST)  # noqa: FURB136
            if waits and (queued := row[_SUMMED]) is not None:
                us = int(queued * 1e6 + 0.5)
                sums[4] += times * (us if us < MOST else MOST)  # noqa: FURB136
                sums[5] += times

    def rows(self) -> list[dict[str, Any]]:
        """What to add to each row of the table, in one order for everybody who does."""
        found: dict[tuple[str, str, str, datetime], list[int]] = {}
        for (kind, own, hours), sums in self._by_hour.items():
            hour = datetime.fromtimestamp(hours * _HOUR_SECONDS, UTC)
            for period, begins_at in ((HOUR, hour), (DAY, hour.replace(hour=0))):
                for name in {own, EVERYTHING}:
                    key = kind, period, name, begins_at
                    found[key] = [*map(add, found.get(key, _NOTHING), sums)]
        return [
            dict(zip((*_KEYS, *SUMS), (*key, *sums), strict=True))
            for key, sums in sorted(found.items())
            if any(sums)
        ]


class Totals:
    """The table of the sums."""

    def __init__(self, dialect: Dialect, tables: Tables) -> None:
        self._table = tables.period_totals
        self._add = self._adding(dialect.name)

    def apply(self, connection: Connection, changes: Changes) -> None:
        """Add them. Last in a transaction: all others wait for whoever writes today's row."""
        rows = changes.rows()
        if rows:
            connection.execute(self._add, rows)

    def delete(
        self, connection: Connection, table: Table, counted: Counted, condition: ColumnElement[bool]
    ) -> list[int]:
        """Delete rows of a table of which there are sums.

        Args:
            connection: In a transaction that writes.
            table: With a column ``id``.
            counted: How its rows are counted.
            condition: Which of them, a few thousand at most.

        Returns:
            Numbers of the rows that were deleted.
        """
        columns = [table.c[name] for name in counted.columns]
        # Locked, lest another who deletes or replaces one takes it off the sums too.
        found = select(table.c.id, *columns).where(condition).with_for_update()
        rows = connection.execute(found).all()
        ids = [row[0] for row in rows]
        if ids:
            changes = Changes()
            changes.add(counted, (row[1:] for row in rows), -1)
            connection.execute(delete(table).where(table.c.id.in_(ids)))
            self.apply(connection, changes)
        return ids

    def forget(self, connection: Connection, before: datetime) -> None:
        """Delete the sums over nothing of what began before then."""
        own = self._table
        connection.execute(delete(own).where(own.c.n == 0, own.c.begins_at < before))

    def _adding(self, dialect: str) -> Insert:
        own = self._table
        if dialect == "mysql":
            into = mysql.insert(own)
            return into.on_duplicate_key_update(
                {name: own.c[name] + into.inserted[name] for name in SUMS}
            )
        into = (postgresql if dialect == "postgresql" else sqlite).insert(own)
        return into.on_conflict_do_update(
            index_elements=list(_KEYS),
            set_={name: own.c[name] + into.excluded[name] for name in SUMS},
        )
