"""Writes rows into the history: each an upsert that a row of a higher version withstands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Engine,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Delete, Insert
from sqlalchemy.types import TypeEngine

from jobmon.errors import JobmonError
from jobmon.history.database import writing
from jobmon.history.rows import Row
from jobmon.history.schema import Tables
from jobmon.store.chunks import chunks

_CHUNK: Final = 500
_COPIED_FROM: Final = 50
"""Fewer rows are inserted faster than copied."""
_KEPT: Final = frozenset({"created_at", "claimed_at", "claimed_by"})
"""What an upsert leaves as it is: a claim is of one attempt, and ends with it."""


class FencedError(JobmonError):
    """Somebody else does the work by now; nothing of the transaction was written."""


@dataclass(slots=True)
class Batch:
    """What one transaction writes. No key of a table occurs twice."""

    jobs: list[Row] = field(default_factory=list[Row])
    open_again: list[Row] = field(default_factory=list[Row])
    """``process_id``, ``job_id`` and ``version`` of jobs that were revoked, or run once more."""
    attempts: list[Row] = field(default_factory=list[Row])
    runs: list[Row] = field(default_factory=list[Row])
    failed: list[Row] = field(default_factory=list[Row])
    failed_no_more: list[Row] = field(default_factory=list[Row])
    """``uuid``, ``process_id`` and ``version`` of jobs that are failed no more."""

    def __len__(self) -> int:
        written = len(self.jobs) + len(self.attempts) + len(self.runs) + len(self.failed)
        return written + len(self.open_again) + len(self.failed_no_more)


class _Target:
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
        """COPY takes a fraction of the time of INSERT, but into a table without conflicts."""
        name = self.table.name
        staging = f"staging_{name}"
        columns = ", ".join(f'"{column}"' for column in rows[0])
        # Of the columns alone: no identity that is missing, no key that is there twice.
        connection.exec_driver_sql(
            f'CREATE TEMPORARY TABLE IF NOT EXISTS "{staging}" '  # noqa: S608
            f'ON COMMIT DELETE ROWS AS SELECT {columns} FROM "{name}" WITH NO DATA'
        )
        _copied(connection, f'COPY "{staging}" ({columns}) FROM STDIN', rows)
        changed = ", ".join(f'"{column}" = excluded."{column}"' for column in self._changed)
        connection.exec_driver_sql(
            f'INSERT INTO "{name}" ({columns}) SELECT {columns} FROM "{staging}" '  # noqa: S608
            f"ON CONFLICT ({', '.join(self.keys)}) DO UPDATE SET {changed} "
            f'WHERE excluded.version > "{name}".version'
        )


class History:
    """The writing half of the history."""

    def __init__(
        self, engine: Engine, tables: Tables, lease: str, store: Callable[[], str]
    ) -> None:
        """Make one.

        Args:
            engine: Of the database.
            tables: Its tables.
            lease: Name of the lease under which is written.
            store: Tells which store the lease is of: the tokens of two have no order.
        """
        dialect = engine.dialect
        self._engine = engine
        self._tables = tables
        self._lease = lease
        self._store = store
        self._jobs = _Target(dialect, tables.job_metrics, ("process_id", "job_id"))
        self._attempts = _Target(dialect, tables.job_attempts, ("process_id", "job_id", "attempt"))
        self._runs = _Target(dialect, tables.command_metrics, ("process_id",))
        self._failed = _Target(dialect, tables.failed_jobs, ("process_id", "uuid"))

    def write(self, token: int, batch: Batch) -> None:
        """Write all of it, or nothing.

        Args:
            token: Of the lease under which the rows were read.
            batch: The rows.

        Raises:
            FencedError: The lease has gone to somebody else.
            sqlalchemy.exc.DBAPIError: The database refuses, or cannot be reached.
            redis.RedisError: The store does not say which one it is.
        """
        fence = f"{self._lease}:{self._store()}"
        with writing(self._engine) as connection:
            self._take_fence(connection, fence, token)
            self._jobs.put(connection, batch.jobs)
            self._jobs.take(connection, batch.open_again)
            self._attempts.put(connection, batch.attempts)
            self._runs.put(connection, self._recounted(connection, batch.runs))
            self._failed.put(connection, batch.failed)
            self._failed.take(connection, batch.failed_no_more)

    def _take_fence(self, connection: Connection, name: str, token: int) -> None:
        """First: it holds the row until the end, so that no two ever write at once.

        Else a holder that was frozen before its commit might put back, in the end, what its
        successor looked for in vain to take out.
        """
        fence = self._tables.fence
        own = fence.c.name == name
        if connection.execute(
            update(fence).where(own, fence.c.token <= token), {"token": token}
        ).rowcount:
            return
        if connection.execute(select(fence.c.token).where(own)).first() is not None:
            raise FencedError("somebody else has taken over the work")
        connection.execute(insert(fence), {"name": name, "token": token})

    def _recounted(self, connection: Connection, rows: list[Row]) -> list[Row]:
        """The rows, of which those whose counters cannot know all are counted anew."""
        runs = self._tables.command_metrics
        found: list[Row] = []
        for some in chunks(rows, _CHUNK):
            ids = [row["process_id"] for row in some]
            known = select(runs.c.process_id, runs.c.born).where(runs.c.process_id.in_(ids))
            born: dict[str, int] = {one[0]: one[1] for one in connection.execute(known)}
            for row in some:
                process_id = row["process_id"]
                again = process_id in born and born[process_id] != row["born"]
                found.append(self._recount(connection, row) if row["partial"] or again else row)
        return found

    def _recount(self, connection: Connection, row: Row) -> Row:
        """Counters from the rows of the jobs, whatever else is known from either life.

        A run's hash that was made again after the first had expired knows of its later jobs
        alone, and nothing of the run's start. What leaves no row, a job revoked in its first
        life, is taken from the row that life left.
        """
        runs, jobs = self._tables.command_metrics, self._tables.job_metrics.c
        process_id = row["process_id"]
        stored = connection.execute(select(runs).where(runs.c.process_id == process_id))
        found = stored.mappings().one_or_none()
        old: dict[str, Any] = {} if found is None else {str(n): v for n, v in found.items()}

        def many(condition: Any) -> Any:
            return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

        counted = connection.execute(
            select(
                many(jobs.status == "success"),
                many(jobs.status == "failed"),
                many(jobs.outcome == "lost"),
                many(jobs.attempts > 1),
                func.coalesce(func.sum(jobs.execution_time), 0.0),
                func.coalesce(func.max(jobs.memory_usage), 0),
            ).where(jobs.process_id == process_id)
        ).one()
        success, failed, lost, retried, total = *map(int, counted[:4]), float(counted[4])
        revoked = max(row["revoked_jobs"], old.get("revoked_jobs", 0))
        still_open = row["job_count"] - sum(
            row[name] for name in ("success_jobs", "failed_jobs", "revoked_jobs")
        )
        job_count = success + failed + revoked + max(0, still_open)
        kept = {
            name: old[name]
            for name, value in row.items()
            if old.get(name) is not None and (value is None or name in ("source", "run_date"))
        }
        merged = {**row, "status": row["status"] or "running", **(kept if row["partial"] else {})}
        return {
            **merged,
            "job_count": job_count,
            "success_jobs": success,
            "failed_jobs": failed,
            "revoked_jobs": revoked,
            "lost_jobs": lost,
            "retried_jobs": retried,
            "total_time": total if job_count else row["total_time"],
            "avg_job_time": total / job_count if job_count else 0.0,
            "peak_memory": max(row["peak_memory"], int(counted[5]), old.get("peak_memory", 0)),
        }


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
