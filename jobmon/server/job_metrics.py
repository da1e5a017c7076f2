"""``job-metrics``: jobs that ended, and what they add up to, from the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from starlette.requests import Request

from jobmon.answers.history import JobMetrics, Statistics
from jobmon.history.found import JobStatistics
from jobmon.history.read import HistoryReader
from jobmon.server.metrics_rows import job_metric, rates
from jobmon.server.migration import Migration
from jobmon.server.pagination import address, offset, paginator
from jobmon.server.periods import DAYS, DAYS_TEXT, period
from jobmon.server.query import NAME, UUID, Paged, one_of, parameter
from jobmon.settings import Settings

_FILTERS = ("process_id", "command", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMetricsQuery(Paged):
    """Parameters of ``job-metrics``."""

    process_id: str | None = parameter(UUID, "Of this run alone.")
    command: str | None = parameter(NAME, "Of this command alone.")
    status: str | None = parameter(one_of("success", "failed"), "That ended so.")
    days: int = parameter(DAYS, DAYS_TEXT, 30)


class JobHistory:
    """Handler of ``job-metrics``."""

    def __init__(self, history: HistoryReader, migration: Migration, settings: Settings) -> None:
        self._history = history
        self._migration = migration
        self._public_url = settings.public_url

    def jobs(self, request: Request, query: JobMetricsQuery) -> JobMetrics:
        """A page of jobs; the statistics are of all pages and of both statuses."""
        self._migration.require()
        since, shown = period(query.days)
        found = self._history.jobs(
            since,
            offset(query),
            query.per_page,
            process_id=query.process_id,
            command=query.command,
            status=query.status,
        )
        statistics = self._history.job_statistics(
            since, process_id=query.process_id, command=query.command
        )
        rows = [job_metric(job) for job in found.rows]
        filters = {name: query.given[name] for name in _FILTERS if name in query.given}
        return JobMetrics(
            metrics=paginator(address(request, self._public_url), query, rows, found.total),
            statistics=_statistics(statistics),
            filters=cast("dict[Literal['process_id', 'command', 'status'], str]", filters),
            period=shown,
        )


def _statistics(jobs: JobStatistics) -> Statistics:
    success_rate, failure_rate = rates(jobs)
    return Statistics(
        total_jobs=jobs.total_jobs,
        success_jobs=jobs.success_jobs,
        failed_jobs=jobs.failed_jobs,
        success_rate=success_rate,
        failure_rate=failure_rate,
        avg_execution_time=jobs.avg_execution_time,
        avg_queue_time=jobs.avg_queue_time,
        avg_memory_usage=round(jobs.avg_memory_usage),
    )
