"""Sums by hour and day, and an index for each way to ask for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from jobmon.history.migrations import steps
from jobmon.history.types import Double, Name, UtcDateTime

revision = "0002"
down_revision = "0001"

_MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_default_charset": "utf8mb4"}
_INDEXES: Final = (
    ("command_metrics", "started_at_id", ("started_at", "id")),
    ("job_metrics", "command_name_finished_at_id", ("command_name", "finished_at", "id")),
    ("job_metrics", "process_id_finished_at_id", ("process_id", "finished_at", "id", "status")),
    ("failed_jobs", "process_id_failed_at_id", ("process_id", "failed_at", "id")),
)
_OF_FAILED: Final = (
    ("job_metrics", "status_finished_at_id", ("status", "finished_at", "id")),
    ("job_metrics", "command_status", ("command_name", "status", "finished_at", "id")),
)
_NO_MORE: Final = (
    ("command_metrics", "command_name"),
    ("job_metrics", "command_name"),
    ("job_metrics", "status"),
    ("job_metrics", "command_name_finished_at"),
    ("job_metrics", "process_id_status"),
)
_SUMS: Final = ("n", "failed", "time_us", "memory", "queue_us", "queue_n")
_KEYS: Final = ("kind", "period", "name", "begins_at")
_OF_JOBS: Final = ("finished_at", "command_name", "execution_time", "memory_usage", "queue_time")
_OF_RUNS: Final = ("started_at", "command_name", "total_time", "peak_memory")
_OF_FAILURES: Final = ("failed_at", "queue")
_MOST: Final = 2**45


def upgrade() -> None:
    """Make the table, fill it from the rows that are there, and replace indexes."""
    prefix = steps.table_prefix()
    metadata = sa.MetaData(naming_convention=steps.NAMES)
    totals = _totals(metadata, prefix)
    jobs, runs = _rows(f"{prefix}job_metrics"), _rows(f"{prefix}command_metrics")
    failed = _rows(f"{prefix}failed_jobs")
    steps.create(totals)
    op.execute(totals.delete())  # MySQL keeps what a step that broke off has filled in
    for table, at, instead in (
        (jobs, jobs.c.finished_at, sa.func.coalesce(jobs.c.started_at, jobs.c.created_at)),
        (runs, runs.c.started_at, sa.func.coalesce(runs.c.finished_at, runs.c.created_at)),
    ):
        op.execute(sa.update(table).where(at.is_(None)).values({at: instead}))
    for every in (True, False):
        _fill(totals, "job", jobs, _OF_JOBS, every)
        _fill(totals, "run", runs, _OF_RUNS, every)
        _fill(totals, "failed", failed, _OF_FAILURES, every)
    _fill_days(totals)
    for table, name, columns in _INDEXES:
        steps.add_index(prefix + table, name, columns)
    for table, name, columns in _OF_FAILED:
        steps.add_index(prefix + table, name, columns, where="status = 'failed'")
    for table, name in _NO_MORE:
        steps.drop_index(prefix + table, name)


def _totals(metadata: sa.MetaData, prefix: str) -> sa.Table:
    def keyed(name: str, kind: Any) -> sa.Column[Any]:
        return sa.Column(name, kind, primary_key=True)

    return sa.Table(
        f"{prefix}period_totals",
        metadata,
        keyed("kind", Name(8)),
        keyed("period", Name(8)),
        keyed("name", Name(255)),
        keyed("begins_at", UtcDateTime()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
        **_MYSQL,
    )


def _rows(name: str) -> sa.TableClause:
    """The columns that are counted of any table."""
    return sa.table(
        name,
        *(
            sa.column(one, UtcDateTime())
            for one in ("started_at", "finished_at", "created_at", "failed_at")
        ),
        *(sa.column(one, sa.String()) for one in ("command_name", "queue", "status")),
        *(sa.column(one, Double()) for one in ("execution_time", "total_time", "queue_time")),
        *(sa.column(one, sa.BigInteger()) for one in ("memory_usage", "peak_memory")),
    )


def _hour(at: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """When the hour of a moment begins."""
    kind = op.get_context().dialect.name
    if kind == "sqlite":
        return sa.func.substr(at, 1, 13, type_=sa.Text()).concat(":00:00.000000Z")
    if kind == "mysql":
        return sa.func.timestamp(sa.func.date(at), sa.func.maketime(sa.func.hour(at), 0, 0))
    return sa.func.date_trunc("hour", at, "UTC")


def _day(hour: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    kind = op.get_context().dialect.name
    if kind == "sqlite":
        return sa.func.substr(hour, 1, 10, type_=sa.Text()).concat("T00:00:00.000000Z")
    if kind == "mysql":
        return sa.func.timestamp(sa.func.date(hour))
    return sa.func.date_trunc("day", hour, "UTC")


def _at_most(number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    most: sa.ColumnElement[Any] = sa.literal_column(str(_MOST))
    return sa.case((number > most, most), else_=number)


def _microseconds(seconds: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    # floor(x + 0.5), which all know alike; SQLite has no floor, and cuts what is not negative.
    us = seconds * sa.literal_column("1e6") + sa.literal_column("0.5")
    whole = us if op.get_context().dialect.name == "sqlite" else sa.func.floor(us)
    return _at_most(sa.cast(whole, sa.BigInteger()))


def _sum(one: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(one), 0)


def _fill(
    totals: sa.Table, kind: str, table: sa.TableClause, counted: Sequence[str], every: bool
) -> None:
    """The hours of each name, or of all of them together."""
    at, own, *summed = (table.c[name] for name in counted)
    hour = _hour(at)
    name = sa.literal("") if every else own
    nothing: sa.ColumnElement[Any] = sa.literal(0)
    sums: list[sa.ColumnElement[Any]] = [sa.func.count(), *[nothing] * 5]
    if summed:
        seconds, size, *queue = summed
        failed = sa.case((table.c.status.in_(("failed", "lost")), 1), else_=0)
        sums[1:4] = _sum(failed), _sum(_microseconds(seconds)), _sum(_at_most(size))
        if queue:
            sums[4:] = _sum(_microseconds(queue[0])), sa.func.count(queue[0])
    selected = sa.select(sa.literal(kind), sa.literal("hour"), name, hour, *sums)
    selected = selected.select_from(table).group_by(hour)
    if not every:
        selected = selected.where(name != "").group_by(name)
    op.execute(totals.insert().from_select([*_KEYS, *_SUMS], selected))


def _fill_days(totals: sa.Table) -> None:
    hours = totals.alias("hours")
    day = _day(hours.c.begins_at)
    keys = hours.c.kind, sa.literal("day"), hours.c.name, day
    selected = sa.select(*keys, *(sa.func.sum(hours.c[name]) for name in _SUMS))
    selected = selected.group_by(hours.c.kind, hours.c.name, day)
    op.execute(totals.insert().from_select([*_KEYS, *_SUMS], selected))
