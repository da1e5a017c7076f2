"""Keeps the sums over the rows of each hour and each day, so that no page counts rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import add
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete
from sqlalchemy.dialects import mysql, postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.dml import Insert

    from jobmon.history.schema import Tables

HOUR: Final = "hour"
DAY: Final = "day"
EVERY_COMMAND: Final = ""
"""In place of a command's name: all of them together."""
MOST: Final = 2**45
"""Most that one row adds to a sum, in µs (407 days) or bytes (32 TiB): what a worker claims must
not fill a column of 64 bits, or no row of that day could be written any more."""
_KEYS: Final = ("kind", "period", "command_name", "begins_at")
SUMS: Final = ("n", "failed", "time_us", "memory", "queue_us", "queue_n")
"""Rows, failed ones, µs, bytes, µs in queues, and rows of which those are known."""
_NOTHING: Final = (0,) * len(SUMS)
_FAILED: Final = frozenset({"failed", "lost"})
_HOUR_SECONDS: Final = 3600
_LEAST: Final = 5
"""Columns that are counted of every table."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How the rows of one table are counted."""

    kind: str
    columns: tuple[str, ...]
    """What tells the moment, the command, the status, the seconds, the bytes, and the seconds in a
    queue, if there are such."""

    @property
    def at(self) -> str:
        """The column of the moment under which a row is filed."""
        return self.columns[0]


JOBS: Final = Counted(
    "job",
    ("finished_at", "command_name", "status", "execution_time", "memory_usage", "queue_time"),
)
RUNS: Final = Counted("run", ("started_at", "command_name", "status", "total_time", "peak_memory"))


def filed(
    totals: Table, counted: Counted, period: str, *, one_command: bool
) -> list[ColumnElement[bool]]:
    """Which sums are of that kind of row, from ``since`` on.

    Args:
        totals: Their table.
        counted: How the rows are counted.
        period: ``HOUR`` or ``DAY``.
        one_command: Of the command ``command_name`` alone.
    """
    own = totals.c
    return [
        own.kind == counted.kind,
        own.period == period,
        own.command_name == (bindparam("command_name") if one_command else EVERY_COMMAND),
        own.begins_at >= bindparam("since"),
    ]


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
        kind, by_hour, waits = counted.kind, self._by_hour, len(counted.columns) > _LEAST
        for row in rows:
            at, command, status, seconds, size = row[:_LEAST]
            if at is None:
                continue
            key = kind, command, at.timestamp() // _HOUR_SECONDS
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
            if waits and (queued := row[_LEAST]) is not None:
                us = int(queued * 1e6 + 0.5)
                sums[4] += times * (us if us < MOST else MOST)  # noqa: FURB136
                sums[5] += times

    def rows(self) -> list[dict[str, Any]]:
        """What to add to each row of the table, in one order for everybody who does."""
        found: dict[tuple[str, str, str, datetime], list[int]] = {}
        for (kind, command, hours), sums in self._by_hour.items():
            hour = datetime.fromtimestamp(hours * _HOUR_SECONDS, UTC)
            for period, begins_at in ((HOUR, hour), (DAY, hour.replace(hour=0))):
                for name in {command, EVERY_COMMAND}:
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
