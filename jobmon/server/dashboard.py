"""``dashboard``: everything at a glance, from the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from jobmon.answers.history import Dashboard, RecentActivity, Summary
from jobmon.history.found import JobStatistics, RunSummary
from jobmon.history.read import HistoryReader
from jobmon.server.metrics_rows import job_metric, rates, recent_run, run_metric
from jobmon.server.migration import Migration
from jobmon.server.periods import DAYS, DAYS_TEXT, period
from jobmon.server.query import NAME, Query, parameter

MOST_RECENT: Final = 10
MOST_RUNS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardQuery(Query):
    """Parameters of ``dashboard``."""

    days: int = parameter(DAYS, DAYS_TEXT, 7)
    command: str | None = parameter(NAME, "Of this command alone.")


class Overview:
    """Handler of ``dashboard``."""

    def __init__(self, history: HistoryReader, migration: Migration) -> None:
        self._history = history
        self._migration = migration

    def dashboard(self, _request: Request, query: DashboardQuery) -> Dashboard:
        """What happened in some days."""
        self._migration.require()
        since, shown = period(query.days)
        history, command = self._history, query.command
        runs = history.runs(command, since, 0, MOST_RUNS if command else MOST_RECENT).rows
        jobs = history.newest_jobs(since, MOST_RECENT, command=command)
        statistics = history.job_statistics(since, command=command)
        return Dashboard(
            summary=_summary(history.run_summary(since, command), statistics),
            recent_activity=RecentActivity(
                [recent_run(run) for run in runs[:MOST_RECENT]], [job_metric(job) for job in jobs]
            ),
            metrics=[run_metric(run) for run in runs] if command else [],
            period=shown,
        )


def _summary(runs: RunSummary, jobs: JobStatistics) -> Summary:
    success_rate, failure_rate = rates(jobs)
    memory = runs.total_peak_memory
    return Summary(
        total_commands=runs.runs,
        total_jobs=jobs.total_jobs,
        success_jobs=jobs.success_jobs,
        failed_jobs=jobs.failed_jobs,
        success_rate=success_rate,
        failure_rate=failure_rate,
        avg_execution_time=runs.avg_total_time,
        total_memory_usage=memory,
        avg_memory_per_command=round(memory / runs.runs) if runs.runs else 0,
    )
