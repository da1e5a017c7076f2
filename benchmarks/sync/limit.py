"""What a database takes at best: the same rows, ready-made, in the same transactions.

SQLite: ``executemany`` of an INSERT by the driver alone. PostgreSQL: COPY into a staging table,
then INSERT … ON CONFLICT into the real one. Both through the connections that jobmon makes.
"""

from __future__ import annotations

import pickle
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobmon.history import rows
from jobmon.history.schema import tables
from jobmon.store.unsynced import Unsynced

if TYPE_CHECKING:
    import sqlalchemy as sa

    from jobmon.settings import Settings

Batch = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
"""Of one transaction the rows of jobs and of runs, their values as the driver takes them."""


def make_ready(
    client: Any, settings: Settings, engine: sa.Engine, batch_size: int, folder: Path
) -> int:
    """Write every row that a pass would write into files, one a transaction; how many rows."""
    own, unsynced, now = tables(""), Unsynced(client, settings), datetime.now(UTC)
    batch: Batch = [], []
    rows_made = files = 0
    bound_job, bound_run = (
        _binder(engine, table) for table in (own.job_metrics, own.command_metrics)
    )
    mark = None
    while marks := unsynced.members(50, mark):
        mark = marks[-1]
        for change in unsynced.peek(marks, batch_size):
            process_id = change.mark.process_id
            for one in change.jobs:
                row = rows.job(process_id, one.job_id, one.version, rows.read(one.record), now)
                batch[0].append(bound_job(row))
                if len(batch[0]) == batch_size:
                    rows_made, files = rows_made + _keep(batch, folder, files), files + 1
                    batch = [], []
            if change.run is not None and not change.more:
                row = rows.run(
                    process_id, change.mark.command, change.mark.version, change.run, now
                )
                batch[1].append(bound_run(row))
    return rows_made + _keep(batch, folder, files)


def _keep(batch: Batch, folder: Path, number: int) -> int:
    if any(batch):
        Path(folder, f"{number:06}").write_bytes(pickle.dumps(batch))
    return sum(map(len, batch))


def seconds(engine: sa.Engine, folder: Path) -> float:
    """How long the database takes for all of them, without the time to read the files."""
    own = tables("")
    put = _put_by_copy if engine.dialect.name == "postgresql" else _put_by_executemany
    targets = [
        (own.job_metrics, ("process_id", "job_id")),
        (own.command_metrics, ("process_id",)),
    ]
    took = 0.0
    with engine.connect() as connection:
        for file in sorted(folder.iterdir()):
            batch: Batch = pickle.loads(file.read_bytes())
            began = time.perf_counter()
            with connection.begin():
                driver = connection.connection.driver_connection
                for (table, keys), values in zip(targets, batch, strict=True):
                    if values:
                        put(driver, table, keys, values)
            took += time.perf_counter() - began
    return took


def _columns(table: sa.Table) -> list[str]:
    """Those that a sync writes: what the analysis adds to runs is none of its."""
    others = {"id", "queue_time", "analyzed_at"} if table.name == "command_metrics" else {"id"}
    return [column.name for column in table.columns if column.name not in others]


def _binder(engine: sa.Engine, table: sa.Table) -> Any:
    dialect = engine.dialect
    columns = [
        (name, table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        for name in _columns(table)
    ]

    def bound(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(
            process(row[name]) if process is not None else row[name] for name, process in columns
        )

    return bound


def _put_by_executemany(driver: Any, table: sa.Table, keys: Any, values: Any) -> None:
    names = _columns(table)
    driver.executemany(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        values,
    )


def _put_by_copy(driver: Any, table: sa.Table, keys: tuple[str, ...], values: Any) -> None:
    names, name = _columns(table), table.name
    columns = ", ".join(names)
    changed = ", ".join(f"{one} = excluded.{one}" for one in names if one not in keys)
    with driver.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS ready_{name} ON COMMIT DELETE ROWS "
            f"AS SELECT {columns} FROM {name} WITH NO DATA"
        )
        with cursor.copy(f"COPY ready_{name} ({columns}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
        cursor.execute(
            f"INSERT INTO {name} ({columns}) SELECT {columns} FROM ready_{name} "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changed} "
            f"WHERE excluded.version > {name}.version"
        )
