"""Writes rows into the history: each an upsert that a row of a higher version withstands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, case, func, select

from jobmon.history.fence import Fence
from jobmon.history.rows import Row
from jobmon.history.schema import Tables
from jobmon.history.target import CountedTarget, Target
from jobmon.history.totals import FAILURES, JOBS, RUNS, Changes, Totals
from jobmon.store.chunks import chunks

_CHUNK: Final = 500


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
        self._fence = Fence(tables, lease, store)
        self._jobs = CountedTarget(dialect, tables.job_metrics, ("process_id", "job_id"), JOBS)
        self._attempts = Target(dialect, tables.job_attempts, ("process_id", "job_id", "attempt"))
        self._runs = CountedTarget(dialect, tables.command_metrics, ("process_id",), RUNS)
        self._failed = CountedTarget(dialect, tables.failed_jobs, ("process_id", "uuid"), FAILURES)
        self._totals = Totals(dialect, tables)

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
        changes = Changes()
        with self._fence.writing(self._engine, token) as connection:
            self._jobs.put_counted(connection, batch.jobs, changes)
            self._jobs.take_counted(connection, batch.open_again, changes)
            self._attempts.put(connection, batch.attempts)
            self._runs.put_counted(connection, self._recounted(connection, batch.runs), changes)
            self._failed.put_counted(connection, batch.failed, changes)
            self._failed.take_counted(connection, batch.failed_no_more, changes)
            self._totals.apply(connection, changes)

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
        # Those of its start: what this life took in their place is worth no more than the first's.
        is_guess = row["status"] is None or not old.get("partial", True)
        first = ("source", "run_date", "started_at") if is_guess else ()
        kept = {
            name: old[name]
            for name, value in row.items()
            if old.get(name) is not None and (value is None or name in first)
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
