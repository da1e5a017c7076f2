"""``command-metrics``: runs of one command, and where they are going, from the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from jobmon.answers.history import CommandMetrics, CountTrend, TimeTrend, Trends, Word
from jobmon.history.found import RunRow
from jobmon.history.read import HistoryReader
from jobmon.server.metrics_rows import run_metric
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.periods import DAYS, DAYS_TEXT, period
from jobmon.server.query import NAME, Paged, parameter
from jobmon.settings import Settings

_STABLE_PERCENT: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandMetricsQuery(Paged):
    """Parameters of ``command-metrics``."""

    command: str = parameter(NAME, "Name of the command.", ...)
    days: int = parameter(DAYS, DAYS_TEXT, 30)


class CommandHistory:
    """Handler of ``command-metrics``."""

    def __init__(self, history: HistoryReader, migration: Migration, settings: Settings) -> None:
        self._history = history
        self._migration = migration
        self._public_url = settings.public_url

    def runs(self, request: Request, query: CommandMetricsQuery) -> CommandMetrics:
        """A page of its runs; the trends are of the newest two, whatever the page."""
        self._migration.require()
        since, shown = period(query.days)
        found = self._history.runs(query.command, since, offset(query), query.per_page)
        if query.page == 1 and len(found.rows) >= min(found.total, 2):
            newest = found.rows[:2]
        else:
            newest = self._history.newest_runs(query.command, since, 2)
        rows = [run_metric(run) for run in found.rows]
        return CommandMetrics(
            command=query.command,
            metrics=paginator(address(request, self._public_url), query, rows, found.total),
            trends=_trends(newest),
            period=shown,
        )


def _trends(newest: list[RunRow]) -> Trends:
    if len(newest) < 2:
        return Trends(TimeTrend(0.0, 0.0, "stable"), CountTrend(0, 0.0, "stable"))
    new, old = newest
    seconds, jobs = new.total_time - old.total_time, new.job_count - old.job_count
    return Trends(
        TimeTrend(seconds, *_change(new.total_time, old.total_time)),
        CountTrend(jobs, *_change(new.job_count, old.job_count)),
    )


def _change(new: float, old: float) -> tuple[float, Word]:
    percent = 100 * (new - old) / old if old else 100.0 if new else 0.0
    if abs(percent) < _STABLE_PERCENT:
        return percent, "stable"
    return percent, "increasing" if percent > 0 else "decreasing"
