"""``jobs/failed``: jobs that are failed or lost now, from the history."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from jobmon.answers.failed import FailedJob
from jobmon.answers.paginator import Paginator
from jobmon.history.read import HistoryReader
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.query import MOST_PER_PAGE, Paged, integer, parameter
from jobmon.server.responses import date_time
from jobmon.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FailuresQuery(Paged):
    """Parameters of ``jobs/failed``."""

    per_page: int = parameter(integer(1, MOST_PER_PAGE), "Entries of a page.", 20)


class Failures:
    """Handler of ``jobs/failed``."""

    def __init__(self, history: HistoryReader, migration: Migration, settings: Settings) -> None:
        self._history = history
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
