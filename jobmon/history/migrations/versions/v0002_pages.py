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
    ("job_metrics", "status_finished_at_id", ("status", "finished_at", "id")),
    ("job_metrics", "command_name_finished_at_id", ("command_name", "finished_at", "id")),
    ("job_metrics", "command_status", ("command_name", "status", "finished_at", "id")),
    ("job_metrics", "process_id_finished_at_id", ("process_id", "finished_at", "id", "status")),
    ("failed_jobs", "process_id_failed_at_id", ("process_id", "failed_at", "id")),
)
_NO_MORE: Final = (
    ("command_metrics", "command_name"),
    ("job_metrics", "command_name"),
    ("job_metrics", "status"),
    ("job_metrics", "command_name_finished_at"),
    ("job_metrics", "process_id_status"),
)
_SUMS: Final = ("n", "failed", "time_us", "memory", "queue_us", "queue_n")
_KEYS: Final = ("kind", "period", "command_name", "begins_at")
_OF_JOBS: Final = ("finished_at", "execution_time", "memory_usage", "queue_time")
_OF_RUNS: Final = ("started_at", "total_time", "peak_memory")
_MOST: Final = 2**45


def upgrade() -> None:
    """Make the table, fill it from the rows that are there, and replace indexes."""
    prefix = steps.table_prefix()
    metadata = sa.MetaData(naming_convention=steps.NAMES)
    totals = _totals(metadata, prefix)
    jobs = _rows(f"{prefix}job_metrics", "execution_time", "memory_usage", "queue_time")
    runs = _rows(f"{prefix}command_metrics", "total_time", "peak_memory", None)
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
    _fill_days(totals)
    for table, name, columns in _INDEXES:
        steps.add_index(prefix + table, name, columns)
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
        keyed("command_name", Name(255)),
        keyed("begins_at", UtcDateTime()),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
        **_MYSQL,
    )


def _rows(name: str, seconds: str, size: str, queue: str | None) -> sa.TableClause:
    moments = ("started_at", "finished_at", "created_at")
    return sa.table(
        name,
        *(sa.column(one, UtcDateTime()) for one in moments),
        *(sa.column(one, sa.String()) for one in ("command_name", "status")),
        *(sa.column(one, Double()) for one in (seconds, queue) if one),
        sa.column(size, sa.BigInteger()),
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
    """The hours of each command, or of all of them together."""
    at, seconds, size, *queue = (table.c[name] for name in counted)
    hour = _hour(at)
    command = sa.literal("") if every else table.c.command_name
    failed = sa.case((table.c.status.in_(("failed", "lost")), 1), else_=0)
    queue_us = _sum(_microseconds(queue[0])) if queue else sa.literal(0)
    queue_n = sa.func.count(queue[0]) if queue else sa.literal(0)
    sums = sa.func.count(), _sum(failed), _sum(_microseconds(seconds)), _sum(_at_most(size))
    columns = sa.literal(kind), sa.literal("hour"), command, hour, *sums, queue_us, queue_n
    selected = sa.select(*columns).select_from(table).group_by(hour)
    if not every:
        selected = selected.where(command != "").group_by(command)
    op.execute(totals.insert().from_select([*_KEYS, *_SUMS], selected))


def _fill_days(totals: sa.Table) -> None:
    hours = totals.alias("hours")
    day = _day(hours.c.begins_at)
    keys = hours.c.kind, sa.literal("day"), hours.c.command_name, day
    selected = sa.select(*keys, *(sa.func.sum(hours.c[name]) for name in _SUMS))
    selected = selected.group_by(hours.c.kind, hours.c.command_name, day)
    op.execute(totals.insert().from_select([*_KEYS, *_SUMS], selected))
