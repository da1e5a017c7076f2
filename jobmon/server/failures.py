"""Failed jobs: listed from the history, run again one by one or all of a run, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from jobmon.answers.failed import FailedJob, RetryProgress
from jobmon.answers.paginator import Paginator
from jobmon.errors import JobmonError
from jobmon.history.read import HistoryReader
from jobmon.retry.errors import (
    MessageMissingError,
    NoneFailedError,
    NotConfiguredError,
    NotFailedError,
    PerhapsPushedError,
    QueueUnavailable,
)
from jobmon.retry.retrier import Retrier
from jobmon.server.endpoints import Message
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.principal import principal_of
from jobmon.server.query import MOST_PER_PAGE, Paged, integer, parameter
from jobmon.server.responses import RETRY_AFTER_SECONDS, Style, date_time, error
from jobmon.settings import Settings

_DISPATCHED: Final = "Retry command dispatched for all failed jobs."
_STATUSES: Final[dict[type[JobmonError], HTTPStatus]] = {
    NotFailedError: HTTPStatus.NOT_FOUND,
    NoneFailedError: HTTPStatus.NOT_FOUND,
    MessageMissingError: HTTPStatus.CONFLICT,
    NotConfiguredError: HTTPStatus.CONFLICT,
    PerhapsPushedError: HTTPStatus.CONFLICT,
    QueueUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresQuery(Paged):
    """Parameters of ``jobs/failed``."""

    per_page: int = parameter(integer(1, MOST_PER_PAGE), "Entries of a page.", 20)


class Failures:
    """Handlers of failed jobs. Sentences of refusals are those of the errors raised.

    Each asks the database, and raises where it cannot be asked; nothing is changed then.
    """

    def __init__(
        self, history: HistoryReader, retrier: Retrier, migration: Migration, settings: Settings
    ) -> None:
        self._history = history
        self._retrier = retrier
        self._migration = migration
        self._public_url = settings.public_url

    def all(self, request: Request, query: FailuresQuery) -> Paginator[FailedJob]:
        """A page of them, newest first."""
        self._migration.require()
        found = self._history.failed_jobs(offset(query), query.per_page)
        rows = [
            FailedJob(
                row.id,
                row.uuid,
                row.queue,
                row.payload,
                row.exception,
                date_time(row.failed_at) or "",
            )
            for row in found.rows
        ]
        return paginator(address(request, self._public_url), query, rows, found.total)

    def retry(self, request: Request) -> Message | Response:
        """Push one back onto its queue."""
        given = request.path_params["id"]
        return self._change(
            lambda: self._retrier.retry(given, _who(request)),
            f"Job [{given}] has been pushed back onto the queue.",
        )

    def delete(self, request: Request) -> Message | Response:
        """Delete one; the history of its run stays."""
        given = request.path_params["id"]
        return self._change(lambda: self._retrier.delete(given), f"Job [{given}] has been deleted.")

    def retry_run(self, request: Request) -> Message | Response:
        """Ask for all failed jobs of a run to be pushed; the server that leads pushes them."""
        process_id = request.path_params["processId"]
        return self._change(lambda: self._retrier.retry_run(process_id, _who(request)), _DISPATCHED)

    def progress(self, request: Request) -> RetryProgress | None:
        """How far that is; None: nobody has asked for it lately."""
        self._migration.require()
        found = self._retrier.progress(request.path_params["processId"])
        if found is None:
            return None
        return RetryProgress(
            found.requested,
            found.pushed,
            found.refused,
            found.remaining,
            date_time(found.requested_at),
            date_time(found.finished_at),
            found.error or None,
        )

    def _change(self, what: Callable[[], object], done: str) -> Message | Response:
        self._migration.require()
        try:
            what()
        except JobmonError as reason:
            status = _STATUSES.get(type(reason))
            if status is None:
                raise
            wait = {"retry-after": str(RETRY_AFTER_SECONDS)}
            headers = wait if status is HTTPStatus.SERVICE_UNAVAILABLE else None
            return error(Style.STATUS, status, message=str(reason), headers=headers)
        return Message(done)


def _who(request: Request) -> str:
    """Whoever asks: the name, else the client's address."""
    name = principal_of(request.scope).name
    return name or (request.client.host if request.client is not None else "unknown")
