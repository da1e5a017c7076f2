"""Command runs and their jobs: from the state store, and one run also from the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import redis
from starlette.requests import Request

from jobmon.answers.commands import (
    Command,
    Counters,
    FinishedCommand,
    RecordedJob,
    RunningCommand,
)
from jobmon.history.found import RunDetail
from jobmon.history.read import HistoryReader
from jobmon.model import LOST_EXIT_CODE
from jobmon.server import recorded
from jobmon.server.endpoints import Reply
from jobmon.server.migration import Migration
from jobmon.server.pagination import address
from jobmon.server.query import CURSOR, Query, parameter
from jobmon.server.responses import date_time, instant
from jobmon.settings import Settings
from jobmon.store.members import decoded
from jobmon.store.reader import Reader
from jobmon.store.state import CommandRun, RunCounters

MOST_RUNS: Final = 1000
MOST_JOBS: Final = 10_000
"""In one answer; further jobs come with the ``Link`` header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsQuery(Query):
    """Parameters of ``commands/{processId}/jobs``."""

    cursor: str | None = parameter(CURSOR, "From the `Link` header of the page before.")


class Commands:
    """Handlers of everything under ``commands``."""

    def __init__(
        self, reader: Reader, history: HistoryReader, migration: Migration, settings: Settings
    ) -> None:
        self._reader = reader
        self._history = history
        self._migration = migration
        self._public_url = settings.public_url

    def running(self, _request: Request) -> Reply:
        """Open runs, newest first."""
        runs, total = self._reader.running_commands(MOST_RUNS)
        data = [
            RunningCommand(
                id=run.process_id,
                command=run.command,
                source=run.source,
                started_at=date_time(run.opened_at),
                environment=run.environment,
                arguments=dict(run.arguments),
                options=dict(run.options),
                trace_id=recorded.text(run.data, "trace_id"),
                host=recorded.text(run.data, "host"),
                pid=recorded.integer(run.data, "pid"),
            )
            for run in runs
        ]
        return Reply(data, {"x-total-count": str(total)})

    def finished(self, _request: Request) -> Reply:
        """Runs that ended not longer ago than their records live, newest first."""
        runs, total = self._reader.finished_commands(MOST_RUNS)
        data = [
            FinishedCommand(
                id=run.process_id,
                command=run.command,
                source=run.source,
                finished_at=date_time(run.finished_at),
                exit_code=_exit_code(run.exit_code),
                started_at=date_time(run.started_at),
                duration=run.duration,
            )
            for run in runs
        ]
        return Reply(data, {"x-total-count": str(total)})

    def jobs(self, request: Request, query: JobsQuery) -> Reply:
        """Records of a run's jobs, byte for byte as stored, each a string."""
        process_id: str = request.path_params["processId"]
        page = self._reader.jobs_of_run(process_id, limit=MOST_JOBS, cursor=query.cursor or "")
        headers = {"x-total-count": str(page.total)}
        if page.next_cursor:
            place = address(request, self._public_url)
            following = f"{place}?cursor={quote(page.next_cursor, safe='')}"
            headers["link"] = f'<{following}>; rel="next"'
        data = [
            RecordedJob(job_id, record.decode("utf-8", "replace")) for job_id, record in page.jobs
        ]
        return Reply(data, headers)

    def run(self, request: Request) -> Command | None:
        """One run with its counters; None: nobody knows it.

        Raises:
            DatabaseUnavailable: The store does not know it, and the history cannot be asked.
            RedisError: The history does not know it, and the store cannot be asked.
        """
        process_id: str = request.path_params["processId"]
        away: redis.RedisError | None = None
        try:
            run = self._reader.run(process_id)
            if run is not None:
                return _from_store(run, self._reader.run_counters(run.process_id, run.command))
        except redis.RedisError as error:
            away = error
        self._migration.require()
        row = self._history.run(process_id)
        if row is None and away is not None:
            raise away
        return None if row is None else _from_history(row)


def _from_store(run: CommandRun, counters: RunCounters | None) -> Command:
    data = run.data
    return Command(
        process_id=run.process_id,
        command_name=run.command,
        source=run.source,
        status=run.status,
        environment=run.environment,
        started_at=instant(run.started_at),
        finished_at=instant(run.finished_at),
        due_at=instant(run.due_at),
        sent_at=instant(run.sent_at),
        duration=run.duration,
        exit_code=None if run.status == "running" else _exit_code(run.exit_code),
        arguments=dict(run.arguments),
        options=dict(run.options),
        trace_id=recorded.text(data, "trace_id"),
        host=recorded.text(data, "host"),
        pid=recorded.integer(data, "pid"),
        app=recorded.text(data, "app"),
        release=recorded.text(data, "release"),
        tags=recorded.texts(data, "tags") or [],
        parent_process_id=recorded.text(data, "parent_process_id"),
        parent_job_id=recorded.text(data, "parent_job_id"),
        schedule=recorded.text(data, "schedule"),
        root_job_id=recorded.text(data, "root_job_id"),
        counters=None
        if counters is None
        else Counters(
            job_count=counters.job_count,
            success_jobs=counters.success_jobs,
            failed_jobs=counters.failed_jobs,
            lost_jobs=counters.lost_jobs,
            revoked_jobs=counters.revoked_jobs,
            retried_jobs=counters.retried_jobs,
            open_jobs=counters.open_jobs,
            total_job_time=counters.total_job_time,
            peak_memory=counters.peak_memory,
            drained_at=instant(counters.drained_at),
            partial=counters.partial,
        ),
    )


def _from_history(row: RunDetail) -> Command:
    return Command(
        process_id=row.process_id,
        command_name=row.command_name,
        source=row.source,
        status=row.status,
        environment=row.environment,
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        due_at=instant(row.due_at),
        sent_at=instant(row.sent_at),
        duration=row.duration,
        exit_code=None if row.status == "running" else _exit_code(row.exit_code),
        arguments=decoded(row.arguments) or {},
        options=decoded(row.options) or {},
        trace_id=row.trace_id,
        host=row.host,
        pid=row.pid,
        app=row.app,
        release=row.app_release,
        tags=None,
        parent_process_id=row.parent_process_id,
        parent_job_id=row.parent_job_id,
        schedule=row.schedule,
        root_job_id=None,
        counters=Counters(
            job_count=row.job_count,
            success_jobs=row.success_jobs,
            failed_jobs=row.failed_jobs,
            lost_jobs=row.lost_jobs,
            revoked_jobs=row.revoked_jobs,
            retried_jobs=row.retried_jobs,
            open_jobs=row.job_count - row.success_jobs - row.failed_jobs - row.revoked_jobs,
            total_job_time=row.total_time if row.job_count else 0.0,
            peak_memory=row.peak_memory,
            drained_at=instant(row.drained_at),
            partial=row.partial,
        ),
    )


def _exit_code(recorded: int | None) -> int:
    return recorded if recorded is not None else LOST_EXIT_CODE
