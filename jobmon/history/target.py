"""Tables, and how rows get into them and out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import Column, Connection, Double, Table, bindparam, delete, func
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Delete, Insert
from sqlalchemy.types import TypeEngine

from jobmon.history.rows import Row
from jobmon.history.totals import Changes, Counted
from jobmon.store.chunks import chunks

_CHUNK: Final = 500
_COPIED_FROM: Final = 50
"""Fewer rows are inserted faster than copied."""
_ASKED: Final = 500
"""Keys that are looked up together; SQLite takes no more of different first columns."""
_Known: TypeAlias = tuple[int, Sequence[Any]]
"""Version of a row, and what of it is counted."""
_KEPT: Final = frozenset({"created_at", "claimed_at", "claimed_by"})
"""What an upsert leaves as it is: a claim is of one attempt, and ends with it."""


class Target:
    """A table, and how rows get into it and out of it."""

    def __init__(self, dialect: Dialect, table: Table, keys: tuple[str, ...]) -> None:
        self.table = table
        self.keys = keys
        columns = [column.name for column in table.columns if column.name != "id"]
        self._changed = [name for name in columns if name not in keys and name not in _KEPT]
        self._copies = dialect.name == "postgresql"
        self._upsert = self._upsert_of(dialect.name)
        self._key_of: Callable[[Row], Any] = itemgetter(*keys)
        compiled = self._upsert.compile(dialect=dialect, column_keys=columns)
        self._statement = str(compiled)
        # None: the driver takes values by name.
        self._names: list[str] = compiled.positiontup or []
        self._bound = [
            (place, process)
            for place, name in enumerate(self._names)
            if not isinstance(table.c[name].type, Double)  # rows hold nothing else there
            and (process := _binder(dialect, table.c[name])) is not None
        ]

    def put(self, connection: Connection, rows: list[Row]) -> None:
        """Insert rows, or replace those of a lower version."""
        if not rows:
            return
        # In the order of their keys: neighbours of an index, and no two writers cross.
        rows.sort(key=self._key_of)
        if self._copies and len(rows) >= _COPIED_FROM:
            self._copy(connection, rows)
        elif self._names:
            # What SQLAlchemy does for each row takes longer than the database.
            for some in chunks(rows, _CHUNK):  # small enough to stay in the processor's cache
                connection.exec_driver_sql(self._statement, [self._values(row) for row in some])
        else:
            connection.execute(self._upsert, rows)

    def _values(self, row: Row) -> tuple[Any, ...]:
        values = [*map(row.get, self._names)]
        for place, process in self._bound:
            values[place] = process(values[place])
        return tuple(values)

    def take(self, connection: Connection, rows: list[Row]) -> None:
        """Delete those that have the keys and a lower version."""
        if not rows:
            return
        columns = self.table.c
        names = self.keys
        statement: Delete = delete(self.table).where(
            *(columns[name] == bindparam(f"own_{name}") for name in names),
            columns.version < bindparam("own_version"),
        )
        connection.execute(
            statement, [{f"own_{name}": row[name] for name in (*names, "version")} for row in rows]
        )

    def _upsert_of(self, dialect: str) -> Insert:
        table = self.table
        if dialect == "mysql":
            into = mysql.insert(table)
            newer = into.inserted.version > table.c.version
            # Assigned from left to right: the version, which all others are compared by, last.
            order = sorted(self._changed, key=lambda name: name == "version")
            return into.on_duplicate_key_update(
                [(n, func.if_(newer, into.inserted[n], table.c[n])) for n in order]
            )
        into = (postgresql if dialect == "postgresql" else sqlite).insert(table)
        return into.on_conflict_do_update(
            index_elements=list(self.keys),
            set_={name: into.excluded[name] for name in self._changed},
            where=into.excluded.version > table.c.version,
        )

    def _copy(self, connection: Connection, rows: list[Row]) -> None:
        changed = ", ".join(f'"{column}" = excluded."{column}"' for column in self._changed)
        newer = f'excluded.version > "{self.table.name}".version'
        connection.exec_driver_sql(
            f"{self._staged(connection, rows)} DO UPDATE SET {changed} WHERE {newer}"
        )

    def _staged(self, connection: Connection, rows: list[Row]) -> str:
        """What inserts the rows, up to what is done where one is there already.

        COPY takes a fraction of the time of INSERT, but into a table without conflicts.
        """
        name = self.table.name
        staging = f"staging_{name}"
        columns = ", ".join(f'"{column}"' for column in rows[0])
        # Of the columns alone: no identity that is missing, no key that is there twice.
        connection.exec_driver_sql(
            f'CREATE TEMPORARY TABLE IF NOT EXISTS "{staging}" '  # noqa: S608
            f'ON COMMIT DELETE ROWS AS SELECT {columns} FROM "{name}" WITH NO DATA'
        )
        connection.exec_driver_sql(f'TRUNCATE "{staging}"')
        _copied(connection, f'COPY "{staging}" ({columns}) FROM STDIN', rows)
        return (
            f'INSERT INTO "{name}" ({columns}) SELECT {columns} FROM "{staging}" '  # noqa: S608
            f"ON CONFLICT ({', '.join(self.keys)})"
        )


class CountedTarget(Target):
    """One of which there are sums, in which a row that is replaced or deleted counts no more."""

    def __init__(
        self, dialect: Dialect, table: Table, keys: tuple[str, ...], counted: Counted
    ) -> None:
        super().__init__(dialect, table, keys)
        self._counted = counted
        self._counted_of: Callable[[Row], Sequence[Any]] = itemgetter(*counted.columns)
        names = [*keys, "version", *counted.columns]
        mine = dialect.identifier_preparer.format_table(table)
        self._select = f"SELECT {', '.join(names)} FROM {mine} WHERE "  # noqa: S608
        # Whoever else deletes or replaces one of them waits, and then finds it changed.
        self._lock = "" if dialect.name == "sqlite" else " FOR UPDATE"
        self._mark = "?" if dialect.paramstyle == "qmark" else "%s"
        self._moment = _reader(dialect, table.c[counted.at])

    def put_counted(self, connection: Connection, rows: list[Row], changes: Changes) -> None:
        """As `put`."""
        rows.sort(key=self._key_of)
        if self._copies and len(rows) >= _COPIED_FROM:
            rows = self._put_new(connection, rows, changes)
        known = self._known(connection, rows)
        written = rows
        if known:
            written = [row for row in rows if self._is_newer(row, known)]
            replaced = (known[key] for row in written if (key := self._key_of(row)) in known)
            changes.add(self._counted, (counted for _, counted in replaced), -1)
        changes.add(self._counted, map(self._counted_of, written))
        self.put(connection, written)

    def _put_new(self, connection: Connection, rows: list[Row], changes: Changes) -> list[Row]:
        """Insert those that are not there yet, mostly all; gives the others."""
        keys = ", ".join(self.keys)
        inserted = connection.exec_driver_sql(
            f"{self._staged(connection, rows)} DO NOTHING RETURNING {keys}"
        )
        new = {one[0] if len(self.keys) == 1 else tuple(one) for one in inserted}
        changes.add(
            self._counted, (self._counted_of(row) for row in rows if self._key_of(row) in new)
        )
        return [row for row in rows if self._key_of(row) not in new]

    def take_counted(self, connection: Connection, rows: list[Row], changes: Changes) -> None:
        """As `take`."""
        rows.sort(key=self._key_of)
        known = self._known(connection, rows)
        taken = [row for row in rows if self._key_of(row) in known and self._is_newer(row, known)]
        changes.add(self._counted, (known[self._key_of(row)][1] for row in taken), -1)
        self.take(connection, taken)

    def _is_newer(self, row: Row, known: Mapping[Any, _Known]) -> bool:
        found = known.get(self._key_of(row))
        return found is None or row["version"] > found[0]

    def _known(self, connection: Connection, rows: list[Row]) -> dict[Any, _Known]:
        """Of those that are there already, by their keys."""
        found: dict[Any, _Known] = {}
        count = len(self.keys)
        for some in chunks(rows, _ASKED):
            statement, values = self._asking(some)
            for one in connection.exec_driver_sql(statement, values):
                key = one[0] if count == 1 else tuple(one[:count])
                version, at, *others = one[count:]
                found[key] = version, (self._moment(at), *others)
        return found

    def _asking(self, rows: Sequence[Row]) -> tuple[str, tuple[Any, ...]]:
        """By the first columns of keys: pairs in one list are looked up by an index nowhere."""
        *first, last = self.keys
        conditions: list[str] = []
        values: list[Any] = []
        for own, group in groupby(rows, lambda row: [row[name] for name in first]):
            these = [row[last] for row in group]
            values += own
            if self._copies:  # PostgreSQL takes a list for one value
                among = f"{last} = ANY(%s)"
                values.append(these)
            else:
                among = f"{last} IN ({', '.join([self._mark] * len(these))})"
                values += these
            equal = [f"{name} = {self._mark}" for name in first]
            conditions.append(f"({' AND '.join([*equal, among])})")
        return f"{self._select}{' OR '.join(conditions)}{self._lock}", tuple(values)


def _copied(connection: Connection, statement: str, rows: list[Row]) -> None:
    """Send rows by COPY, which the driver alone knows, and whose errors SQLAlchemy never sees.

    Raises:
        DBAPIError: As of any other statement.
    """
    dialect = connection.dialect
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(tuple(row.values()))
    except dialect.loaded_dbapi.Error as error:
        lost = dialect.is_disconnect(error, driver, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            *(statement, None, error, dialect.loaded_dbapi.Error),
            connection_invalidated=lost,
            dialect=dialect,
        ) from error


def _binder(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any] | None:
    kind: TypeEngine[Any] = column.type.dialect_impl(dialect)
    return kind.bind_processor(dialect)


def _reader(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any]:
    kind: TypeEngine[Any] = column.type.dialect_impl(dialect)
    return kind.result_processor(dialect, None) or _same


def _same(value: Any) -> Any:
    return value
