"""The tables: every column with its unit, every key and index.

A change here needs a migration; a test compares the two on each database.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from jobmon.errors import JobmonError
from jobmon.history.types import BigId, Double, Json, LongBytes, LongText, Name, UtcDateTime

LONGEST_EXCEPTION_MESSAGE: Final = 1000
"""Characters of an exception's message; `failed_jobs.exception` holds all that was kept."""

_NAMES: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}
"""Of keys and indexes. PostgreSQL cuts names after 63 bytes: a table's prefix is bounded."""

MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_default_charset": "utf8mb4"}
"""Options of every table."""

_FAILED: Final = sa.text("status = 'failed'")
_OF_FAILED: Final[dict[str, Any]] = {"sqlite_where": _FAILED, "postgresql_where": _FAILED}
"""Of an index that finds failed jobs among the others; most succeed, and cost it nothing. MySQL
knows no index of some rows."""
_NOT_ANALYZED: Final = sa.text("analyzed_at IS NULL")
_OF_NOT_ANALYZED: Final[dict[str, Any]] = {
    "sqlite_where": _NOT_ANALYZED,
    "postgresql_where": _NOT_ANALYZED,
}


class SchemaError(JobmonError):
    """The tables of the database are not those that this jobmon needs."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under one prefix."""

    metadata: sa.MetaData
    command_metrics: sa.Table
    """One row per command run."""
    job_metrics: sa.Table
    """One row per job that ended, of its latest attempt."""
    job_attempts: sa.Table
    """One row per earlier attempt of a job."""
    failed_jobs: sa.Table
    """One row per job that is failed or lost now."""
    anomalies: sa.Table
    """One row per deviation, from its first run to its last."""
    anomaly_events: sa.Table
    """One row per turn of a deviation: what is to be published."""
    anomaly_deliveries: sa.Table
    """One row per event and sink that it goes to."""
    period_totals: sa.Table
    """Sums over the rows of each hour and each day, kept by whatever writes or deletes a row."""
    fence: sa.Table
    """The highest token of a lease that has written: a holder that was replaced writes no more."""


@cache
def tables(prefix: str) -> Tables:
    """The tables whose names begin with ``prefix``, ``database.table_prefix``.

    No foreign keys: jobs arrive before their run, and those of ``manual-dispatch`` have none.
    """
    metadata = sa.MetaData(naming_convention=_NAMES)
    return Tables(
        metadata,
        _command_metrics(metadata, prefix),
        _job_metrics(metadata, prefix),
        _job_attempts(metadata, prefix),
        _failed_jobs(metadata, prefix),
        _anomalies(metadata, prefix),
        _anomaly_events(metadata, prefix),
        _anomaly_deliveries(metadata, prefix),
        _period_totals(metadata, prefix),
        _fence(metadata, prefix),
    )


def version_table(prefix: str) -> str:
    """Name of the table in which the migrations keep the schema's version."""
    return f"{prefix}jobmon_version"


def _needed(name: str, kind: Any, default: str | None = None) -> sa.Column[Any]:
    given = None if default is None else sa.text(default)
    return sa.Column(name, kind, nullable=False, server_default=given)


def _id() -> sa.Column[int]:
    return sa.Column("id", BigId(), sa.Identity(), primary_key=True)


def _command_metrics(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}command_metrics",
        metadata,
        _id(),
        _needed("process_id", Name(36)),
        _needed("command_name", Name(255)),
        _needed("source", Name(32), "'console'"),
        _needed("app", Name(64), "'default'"),
        _needed("environment", Name(64), "'production'"),
        # `release` is reserved by MySQL.
        sa.Column("app_release", Name(128)),
        _needed("status", Name(16)),
        sa.Column("exit_code", sa.Integer()),
        _needed("job_count", sa.Integer(), "0"),
        _needed("success_jobs", sa.Integer(), "0"),
        _needed("failed_jobs", sa.Integer(), "0"),
        _needed("revoked_jobs", sa.Integer(), "0"),
        _needed("lost_jobs", sa.Integer(), "0"),
        _needed("retried_jobs", sa.Integer(), "0"),
        # Seconds, as all times of work below.
        _needed("avg_job_time", Double(), "0"),
        _needed("total_time", Double(), "0"),
        sa.Column("duration", Double()),
        # Bytes, the highest of any attempt.
        _needed("peak_memory", sa.BigInteger(), "0"),
        # Of started_at, in UTC.
        _needed("run_date", sa.Date()),
        # Never null: of a run whose start was never seen, when it was first heard of.
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("drained_at", UtcDateTime()),
        sa.Column("due_at", UtcDateTime()),
        sa.Column("sent_at", UtcDateTime()),
        sa.Column("schedule", Name(255)),
        sa.Column("host", Name(255)),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("trace_id", Name(32)),
        sa.Column("parent_process_id", Name(36)),
        sa.Column("parent_job_id", Name(255)),
        # JSON objects, redacted where they were recorded.
        sa.Column("arguments", LongText()),
        sa.Column("options", LongText()),
        # True: its start was never seen, or its keys expired, so its jobs' rows are counted.
        _needed("partial", sa.Boolean()),
        # The store's, in µs: of the last change that is in this row, and of the run's first.
        _needed("version", sa.BigInteger(), "0"),
        _needed("born", sa.BigInteger(), "0"),
        # Of this row.
        _needed("created_at", UtcDateTime()),
        _needed("updated_at", UtcDateTime()),
        # The analysis's: the mean of its jobs, and when it was judged. Whatever replaces the row
        # leaves them out, so that a run that has changed is judged once more.
        sa.Column("queue_time", Double()),
        sa.Column("analyzed_at", UtcDateTime()),
        sa.UniqueConstraint("process_id"),
        sa.Index(None, "run_date"),
        sa.Index(None, "created_at"),
        sa.Index(None, "updated_at"),
        # Read backwards for the newest first, as all indexes that end in `id`. What begins with a
        # column serves as the index of that column alone.
        sa.Index(None, "started_at", "id"),
        sa.Index(None, "command_name", "started_at", "id"),
        sa.Index(
            f"ix_{prefix}command_metrics_not_analyzed",
            *("analyzed_at", "command_name", "started_at"),
            **_OF_NOT_ANALYZED,
        ),
        **MYSQL,
    )


def _job_metrics(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}job_metrics",
        metadata,
        _id(),
        _needed("job_id", Name(255)),
        _needed("process_id", Name(36)),
        _needed("command_name", Name(255)),
        _needed("app", Name(64), "'default'"),
        _needed("environment", Name(64), "'production'"),
        sa.Column("app_release", Name(128)),
        _needed("execution_time", Double(), "0"),
        sa.Column("queue_time", Double()),
        _needed("memory_usage", sa.BigInteger(), "0"),
        _needed("status", Name(16)),
        _needed("outcome", Name(16)),
        sa.Column("engine", Name(16)),
        sa.Column("queue", Name(255)),
        sa.Column("job_class", Name(255)),
        sa.Column("job_type", Name(64)),
        sa.Column("host", Name(255)),
        sa.Column("worker", Name(255)),
        _needed("attempts", sa.Integer(), "1"),
        sa.Column("exception_class", Name(255)),
        sa.Column("exception_message", Name(LONGEST_EXCEPTION_MESSAGE)),
        sa.Column("parent_id", Name(255)),
        sa.Column("root_id", Name(255)),
        sa.Column("group_id", Name(255)),
        sa.Column("retry_of", Name(255)),
        sa.Column("trace_id", Name(32)),
        sa.Column("span_id", Name(16)),
        sa.Column("enqueued_at", UtcDateTime()),
        sa.Column("started_at", UtcDateTime()),
        # Never null: of an end without a time, when the store heard of it.
        sa.Column("finished_at", UtcDateTime()),
        _needed("version", sa.BigInteger(), "0"),
        _needed("created_at", UtcDateTime()),
        _needed("updated_at", UtcDateTime()),
        sa.UniqueConstraint("process_id", "job_id"),
        sa.CheckConstraint("status in ('success', 'failed')", name="status"),
        sa.Index(None, "job_id"),
        sa.Index(None, "created_at"),
        # One for each way to ask for a page.
        sa.Index(None, "finished_at", "id"),
        sa.Index(None, "status", "finished_at", "id", **_OF_FAILED),
        sa.Index(None, "command_name", "finished_at", "id"),
        # Names of columns would make these names too long.
        sa.Index(
            f"ix_{prefix}job_metrics_command_status",
            *("command_name", "status", "finished_at", "id"),
            **_OF_FAILED,
        ),
        # The status last: it is counted here, too.
        sa.Index(
            f"ix_{prefix}job_metrics_process_id_finished_at_id",
            *("process_id", "finished_at", "id", "status"),
        ),
        **MYSQL,
    )


def _job_attempts(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}job_attempts",
        metadata,
        _id(),
        _needed("process_id", Name(36)),
        _needed("job_id", Name(255)),
        _needed("attempt", sa.Integer()),
        _needed("status", Name(16)),
        sa.Column("outcome", Name(16)),
        sa.Column("queue", Name(255)),
        sa.Column("worker", Name(255)),
        sa.Column("enqueued_at", UtcDateTime()),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("finished_at", UtcDateTime()),
        sa.Column("execution_time", Double()),
        sa.Column("queue_time", Double()),
        sa.Column("exception_class", Name(255)),
        sa.Column("exception_message", Name(LONGEST_EXCEPTION_MESSAGE)),
        sa.Column("trace_id", Name(32)),
        sa.Column("span_id", Name(16)),
        _needed("version", sa.BigInteger(), "0"),
        _needed("created_at", UtcDateTime()),
        sa.UniqueConstraint("process_id", "job_id", "attempt"),
        sa.Index(None, "created_at"),
        **MYSQL,
    )


def _failed_jobs(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}failed_jobs",
        metadata,
        _id(),
        # The engine's id of the job.
        _needed("uuid", Name(255)),
        # The engine.
        _needed("connection", Name(64)),
        _needed("queue", Name(255)),
        # A JSON object for people, redacted; the message beside it never leaves the server.
        _needed("payload", LongText()),
        _needed("exception", LongText()),
        sa.Column("message", LongBytes()),
        _needed("failed_at", UtcDateTime()),
        _needed("process_id", Name(36)),
        _needed("command_name", Name(255)),
        _needed("app", Name(64), "'default'"),
        sa.Column("job_class", Name(255)),
        _needed("attempts", sa.Integer(), "1"),
        sa.Column("trace_id", Name(32)),
        # By whoever runs it again just now, so that nobody else does.
        sa.Column("claimed_at", UtcDateTime()),
        sa.Column("claimed_by", Name(255)),
        _needed("version", sa.BigInteger(), "0"),
        # The same id in another run is another job.
        sa.UniqueConstraint("process_id", "uuid"),
        sa.Index(None, "uuid"),
        sa.Index(None, "failed_at", "id"),
        sa.Index(None, "queue"),
        sa.Index(None, "process_id", "failed_at", "id"),
        # People name rows by number: the number of a deleted one must not come again.
        sqlite_autoincrement=True,
        **MYSQL,
    )


def _anomalies(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}anomalies",
        metadata,
        _id(),
        _needed("anomaly_id", Name(36)),
        _needed("command_name", Name(255)),
        _needed("app", Name(64), "'default'"),
        _needed("environment", Name(64), "'production'"),
        # The run that began it. Of a missed execution, the last run's: one row per silence.
        sa.Column("process_id", Name(36)),
        _needed("anomaly_type", Name(32)),
        _needed("metric", Name(32)),
        # Of the run that differed last.
        _needed("current", Double()),
        _needed("baseline_avg", Double()),
        _needed("severity", Name(8)),
        sa.Column("change_percent", Double()),
        _needed("threshold", Double()),
        sa.Column("details", Json()),
        _needed("detected_at", UtcDateTime()),
        # When its first event was written; null: nobody was told.
        sa.Column("notified_at", UtcDateTime()),
        # 'pending' until enough runs in a row differ, then 'open', then 'resolved'.
        _needed("state", Name(8), "'open'"),
        _needed("summary", Name(500), "''"),
        # Current by baseline, at most 999.99: the latest, the worst, and that of the first event.
        sa.Column("ratio", Double()),
        sa.Column("worst_ratio", Double()),
        sa.Column("notified_ratio", Double()),
        sa.Column("p_value", Double()),
        sa.Column("test", Name(64)),
        _needed("baseline_runs", sa.Integer(), "0"),
        sa.Column("trace_id", Name(32)),
        # Runs that differed; of a missed execution, those that did not start.
        _needed("occurrences", sa.Integer(), "1"),
        sa.Column("last_seen_at", UtcDateTime()),
        # Of the latest run that was counted here, whether it differed or not.
        sa.Column("last_process_id", Name(36)),
        sa.Column("last_started_at", UtcDateTime()),
        # Start of the last run before it: by the runs until then is told whether it has gone.
        sa.Column("baseline_until", UtcDateTime()),
        sa.Column("escalated_at", UtcDateTime()),
        sa.Column("resolved_at", UtcDateTime()),
        sa.Column("resolution", Name(16)),
        # Normal runs in a row; once resolved, runs since.
        _needed("recovering", sa.Integer(), "0"),
        sa.Column("owner", Name(255)),
        sa.UniqueConstraint("anomaly_id"),
        sa.UniqueConstraint("process_id", "anomaly_type"),
        sa.Index(None, "command_name", "detected_at"),
        sa.Index(None, "severity", "detected_at"),
        sa.Index(None, "state", "command_name"),
        **MYSQL,
    )


def _anomaly_events(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}anomaly_events",
        metadata,
        _id(),
        _needed("event_id", Name(36)),
        _needed("anomaly_id", Name(36)),
        # 'opened', 'escalated' or 'resolved'.
        _needed("state", Name(12)),
        _needed("severity", Name(8)),
        _needed("anomaly_type", Name(32)),
        # A JSON object, as `PerformanceAnomalyDetected.to_dict` gives it.
        _needed("body", LongText()),
        _needed("created_at", UtcDateTime()),
        # When it got a delivery for each sink; null: not yet.
        sa.Column("adopted_at", UtcDateTime()),
        sa.UniqueConstraint("event_id"),
        sa.Index(None, "anomaly_id"),
        sa.Index(None, "adopted_at", "id"),
        **MYSQL,
    )


def _anomaly_deliveries(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}anomaly_deliveries",
        metadata,
        _id(),
        _needed("event_id", Name(36)),
        _needed("sink", Name(80)),
        _needed("attempts", sa.Integer(), "0"),
        _needed("next_at", UtcDateTime()),
        sa.Column("delivered_at", UtcDateTime()),
        sa.Column("given_up_at", UtcDateTime()),
        # Of the last attempt, in words.
        sa.Column("error", Name(255)),
        sa.UniqueConstraint("event_id", "sink"),
        # What is due at a sink, those that wait longest first.
        sa.Index(
            f"ix_{prefix}anomaly_deliveries_due",
            *("sink", "delivered_at", "given_up_at", "next_at"),
        ),
        **MYSQL,
    )


def _period_totals(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}period_totals",
        metadata,
        # 'job', 'run' or 'failed', and 'hour' or 'day', in UTC.
        sa.Column("kind", Name(8), primary_key=True),
        sa.Column("period", Name(8), primary_key=True),
        # A command's, of failed jobs a queue's. Empty: all together, with those that have none.
        sa.Column("name", Name(255), primary_key=True),
        # A job is filed under its end, a run under its start, a failed job under its failure.
        sa.Column("begins_at", UtcDateTime(), primary_key=True),
        # Rows, and those of them that failed or were lost.
        _needed("n", sa.BigInteger()),
        _needed("failed", sa.BigInteger()),
        # Whole numbers, so that what was added can be taken off again: µs of execution_time or
        # total_time, bytes of memory_usage or peak_memory, µs of the queue_time of queue_n rows.
        _needed("time_us", sa.BigInteger()),
        _needed("memory", sa.BigInteger()),
        _needed("queue_us", sa.BigInteger()),
        _needed("queue_n", sa.BigInteger()),
        sqlite_with_rowid=False,
        **MYSQL,
    )


def _fence(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}jobmon_fence",
        metadata,
        sa.Column("name", Name(64), primary_key=True),
        _needed("token", sa.BigInteger(), "0"),
        **MYSQL,
    )
