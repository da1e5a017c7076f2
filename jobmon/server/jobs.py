"""One job by its id: from the state store, or from the history once that has forgotten it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import redis
from starlette.requests import Request

from jobmon.answers.job import Attempt, Failure, Frame, Job
from jobmon.errors import Unavailable
from jobmon.history.found import AttemptRow, FailedDetail, JobDetail
from jobmon.history.read import HistoryReader
from jobmon.retry.pusher import is_configured
from jobmon.retry.rq import ENGINE as RQ
from jobmon.server import recorded
from jobmon.server.migration import Migration
from jobmon.server.query import UUID, Query, parameter
from jobmon.server.recorded import Recorded
from jobmon.server.responses import instant
from jobmon.settings import Settings
from jobmon.store.members import decoded
from jobmon.store.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery(Query):
    """Parameters of ``jobs/{jobId}``."""

    process_id: str | None = parameter(
        UUID, "Of the run that it is in, where several have a job of that id."
    )


class Jobs:
    """Handler of ``jobs/{jobId}``."""

    def __init__(
        self, reader: Reader, history: HistoryReader, migration: Migration, settings: Settings
    ) -> None:
        self._reader = reader
        self._history = history
        self._migration = migration
        self._settings = settings

    def one(self, request: Request, query: JobQuery) -> Job | None:
        """The job with its earlier attempts; None: nobody knows it.

        Raises:
            DatabaseUnavailable: The store does not know it, and the history cannot be asked.
            RedisError: The history does not know it, and the store cannot be asked.
        """
        job_id: str = request.path_params["jobId"]
        away: Unavailable | redis.RedisError | None = None
        row: JobDetail | None = None
        failed: FailedDetail | None = None
        try:
            self._migration.require()
            failed = self._history.failed_job(job_id)
            row = self._history.job(job_id, query.process_id)
        except Unavailable as error:
            away = error
        if failed is not None and failed.uuid != job_id:
            failed = None  # it was the number of another
        process_id = query.process_id
        known = row or failed
        if process_id is None and known is not None:
            process_id = known.process_id
        if failed is not None and failed.process_id != process_id:
            failed = None
        can_be_retried = failed is not None and self._can_be_retried(failed)
        try:
            process_id = process_id or self._reader.process_of(job_id)
            record = self._reader.job(process_id, job_id) if process_id is not None else None
            data = decoded(record)
            if process_id is not None and data is not None:
                earlier = map(decoded, self._reader.attempts(process_id, job_id))
                attempts = [_attempt(one) for one in earlier if one is not None]
                return _from_store(
                    process_id, job_id, data, attempts, failed, can_be_retried=can_be_retried
                )
        except redis.RedisError as error:
            away = error
        if row is None:
            if away is not None:
                raise away
            return None
        rows = self._history.attempts(row.process_id, job_id)
        return _from_history(
            row, [_attempt_row(one) for one in rows], failed, can_be_retried=can_be_retried
        )

    def _can_be_retried(self, failed: FailedDetail) -> bool:
        engine = failed.connection
        return (failed.has_message or engine == RQ) and is_configured(engine, self._settings)


def _from_store(
    process_id: str,
    job_id: str,
    data: dict[str, Any],
    attempts: list[Attempt],
    failed: FailedDetail | None,
    *,
    can_be_retried: bool,
) -> Job:
    return Job(
        job_id=job_id,
        process_id=process_id,
        command_name=recorded.text(data, "command_name") or "",
        job_name=recorded.text(data, "class"),
        job_type=recorded.text(data, "job_type"),
        status=recorded.text(data, "status") or "",
        outcome=recorded.text(data, "outcome"),
        attempt=recorded.integer(data, "attempt") or 1,
        engine=recorded.text(data, "engine"),
        queue=recorded.text(data, "queue"),
        worker=recorded.text(data, "worker"),
        host=recorded.text(data, "host"),
        app=recorded.text(data, "app"),
        environment=recorded.text(data, "environment"),
        release=recorded.text(data, "release"),
        tags=recorded.texts(data, "tags") or [],
        created_at=recorded.moment(data, "created_at"),
        enqueued_at=recorded.moment(data, "enqueued_at"),
        eta=recorded.moment(data, "eta"),
        started_at=recorded.moment(data, "started_at"),
        finished_at=recorded.moment(data, "finished_at"),
        queue_time=recorded.number(data, "queue_time"),
        execution_time=recorded.number(data, "execution_time"),
        memory_usage=recorded.integer(data, "memory_usage"),
        parent_id=recorded.text(data, "parent_id"),
        root_id=recorded.text(data, "root_id"),
        group_id=recorded.text(data, "group_id"),
        retry_of=recorded.text(data, "retry_of"),
        trace_id=recorded.text(data, "trace_id"),
        span_id=recorded.text(data, "span_id"),
        arguments=recorded.mapping(data, "arguments"),
        exception=_failure(data),
        attempts=attempts,
        failed_job_id=None if failed is None else failed.id,
        can_be_retried=can_be_retried,
    )


def _from_history(
    row: JobDetail,
    attempts: list[Attempt],
    failed: FailedDetail | None,
    *,
    can_be_retried: bool,
) -> Job:
    status = row.status
    if status == "success":
        status = "completed"
    elif row.outcome == "lost":
        status = "lost"
    return Job(
        job_id=row.job_id,
        process_id=row.process_id,
        command_name=row.command_name,
        job_name=row.job_class,
        job_type=row.job_type,
        status=status,
        outcome=row.outcome,
        attempt=row.attempts,
        engine=row.engine,
        queue=row.queue,
        worker=row.worker,
        host=row.host,
        app=row.app,
        environment=row.environment,
        release=row.app_release,
        tags=[],
        created_at=None,
        enqueued_at=instant(row.enqueued_at),
        eta=None,
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        queue_time=row.queue_time,
        execution_time=row.execution_time,
        memory_usage=row.memory_usage or None,
        parent_id=row.parent_id,
        root_id=row.root_id,
        group_id=row.group_id,
        retry_of=row.retry_of,
        trace_id=row.trace_id,
        span_id=row.span_id,
        arguments=None if failed is None else _arguments(failed),
        exception=_kept(row.exception_class, row.exception_message),
        attempts=attempts,
        failed_job_id=None if failed is None else failed.id,
        can_be_retried=can_be_retried,
    )


def _attempt(data: Recorded) -> Attempt:
    return Attempt(
        attempt=recorded.integer(data, "attempt") or 1,
        status=recorded.text(data, "status") or "",
        outcome=recorded.text(data, "outcome"),
        queue=recorded.text(data, "queue"),
        worker=recorded.text(data, "worker"),
        enqueued_at=recorded.moment(data, "enqueued_at"),
        started_at=recorded.moment(data, "started_at"),
        finished_at=recorded.moment(data, "finished_at"),
        execution_time=recorded.number(data, "execution_time"),
        queue_time=recorded.number(data, "queue_time"),
        exception=_failure(data),
        trace_id=recorded.text(data, "trace_id"),
    )


def _attempt_row(row: AttemptRow) -> Attempt:
    return Attempt(
        attempt=row.attempt,
        status=row.status,
        outcome=row.outcome,
        queue=row.queue,
        worker=row.worker,
        enqueued_at=instant(row.enqueued_at),
        started_at=instant(row.started_at),
        finished_at=instant(row.finished_at),
        execution_time=row.execution_time,
        queue_time=row.queue_time,
        exception=_kept(row.exception_class, row.exception_message),
        trace_id=row.trace_id,
    )


def _failure(data: Recorded) -> Failure | None:
    error = recorded.mapping(data, "error")
    if error is None:
        return None
    found = error.get("frames")
    if not isinstance(found, list):
        found = []
    frames = [
        Frame(
            file=recorded.text(frame, "file") or "",
            line=recorded.integer(frame, "line"),
            function=recorded.text(frame, "function") or "",
            code=recorded.text(frame, "code") or "",
        )
        for frame in map(recorded.as_mapping, cast("list[object]", found))
        if frame is not None
    ]
    return Failure(
        recorded.text(error, "class") or "", recorded.text(error, "message") or "", frames
    )


def _kept(kind: str | None, message: str | None) -> Failure | None:
    return None if kind is None and message is None else Failure(kind or "", message or "", [])


def _arguments(failed: FailedDetail) -> dict[str, Any] | None:
    payload = decoded(failed.payload) or {}
    return recorded.mapping(recorded.mapping(payload, "data") or {}, "command")
