"""Failed jobs: run again one, or all of a run, or delete one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from jobmon.errors import JobmonError
from jobmon.history.database import DatabaseUnavailable
from jobmon.retry.errors import (
    MessageMissingError,
    NoneFailedError,
    NotConfiguredError,
    NotFailedError,
    PerhapsPushedError,
    QueueUnavailable,
)
from jobmon.retry.retrier import BulkRetry, Retrier
from jobmon.server.auth import principal_of
from jobmon.server.migration import Migration
from jobmon.server.responses import JSON, RETRY_AFTER_SECONDS, Style, date_time, error, ok

_ID: Final = re.compile(r"[A-Za-z0-9._:\-]{1,255}")
_DISPATCHED: Final = "Retry command dispatched for all failed jobs."
_STATUSES: Final[dict[type[JobmonError], HTTPStatus]] = {
    NotFailedError: HTTPStatus.NOT_FOUND,
    NoneFailedError: HTTPStatus.NOT_FOUND,
    MessageMissingError: HTTPStatus.CONFLICT,
    NotConfiguredError: HTTPStatus.CONFLICT,
    PerhapsPushedError: HTTPStatus.CONFLICT,
    QueueUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class FailedJobs:
    """Handlers of what changes failed jobs. Their sentences are those of the errors raised."""

    def __init__(self, retrier: Retrier, migration: Migration) -> None:
        self._retrier = retrier
        self._migration = migration

    def retry(self, request: Request) -> Response:
        """Push one back onto its queue.

        Raises:
            DatabaseUnavailable: Nothing was pushed.
            redis.RedisError: Nothing was pushed.
        """
        given = _given(request)
        return self._change(
            lambda: self._retrier.retry(_known(given, "retry"), _who(request)),
            f"Job [{given}] has been pushed back onto the queue.",
        )

    def delete(self, request: Request) -> Response:
        """Delete one; the history of its run stays.

        Raises:
            DatabaseUnavailable: It stays.
            redis.RedisError: It stays.
        """
        given = _given(request)
        return self._change(
            lambda: self._retrier.delete(_known(given, "delete")),
            f"Job [{given}] has been deleted.",
        )

    def retry_run(self, request: Request) -> Response:
        """Ask for all failed jobs of a run to be pushed; the server that leads pushes them.

        Raises:
            DatabaseUnavailable: It was not asked for.
            redis.RedisError: It was not asked for.
        """
        process_id = _process_id(request)
        if process_id is None:
            return error(Style.STATUS, HTTPStatus.NOT_FOUND)
        return self._change(lambda: self._retrier.retry_run(process_id, _who(request)), _DISPATCHED)

    def progress(self, request: Request) -> Response:
        """How far that is.

        Raises:
            DatabaseUnavailable: What is left cannot be counted.
            redis.RedisError: The store cannot be asked.
        """
        process_id = _process_id(request)
        found = self._reached().progress(process_id) if process_id is not None else None
        if found is None:
            return error(Style.STATUS, HTTPStatus.NOT_FOUND)
        return ok(Style.STATUS, _shown(found))

    def _change(self, what: Callable[[], object], done: str) -> Response:
        self._reached()
        try:
            what()
        except JobmonError as reason:
            status = _STATUSES.get(type(reason))
            if status is None:
                raise
            wait = {"retry-after": str(RETRY_AFTER_SECONDS)}
            headers = wait if status is HTTPStatus.SERVICE_UNAVAILABLE else None
            return error(Style.STATUS, status, message=str(reason), headers=headers)
        return JSON({"status": "success", "message": done})

    def _reached(self) -> Retrier:
        if not self._migration.done:
            raise DatabaseUnavailable("its tables are not there yet")
        return self._retrier


def _given(request: Request) -> str:
    return str(request.path_params["id"])


def _known(given: str, verb: str) -> str:
    if not _ID.fullmatch(given):
        raise NotFailedError(given, verb)
    return given


def _process_id(request: Request) -> str | None:
    given = str(request.path_params["processId"])
    try:
        canonical = str(uuid.UUID(given))
    except ValueError:
        return None
    return canonical if canonical == given.lower() else None


def _who(request: Request) -> str:
    """Whoever asks: the token's name, else the client's address."""
    name = principal_of(request.scope).name
    return name or (request.client.host if request.client is not None else "unknown")


def _shown(found: BulkRetry) -> dict[str, object]:
    return {
        "requested": found.requested,
        "pushed": found.pushed,
        "refused": found.refused,
        "remaining": found.remaining,
        "requested_at": date_time(found.requested_at),
        "finished_at": date_time(found.finished_at),
        "error": found.error or None,
    }
