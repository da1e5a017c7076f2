"""Runs and jobs of the history as the API shows them."""

from __future__ import annotations

from jobmon.answers.history import CommandMetric, JobMetric, RecentRun
from jobmon.history.found import JobRow, JobStatistics, RunRow


def run_metric(run: RunRow) -> CommandMetric:
    """A row of ``command-metrics``."""
    return CommandMetric(
        run.process_id,
        run.command_name,
        run.source,
        run.total_time,
        run.job_count,
        run.success_jobs,
        run.failed_jobs,
        run.avg_job_time,
        run.peak_memory,
        run.run_date.isoformat(),
    )


def recent_run(run: RunRow) -> RecentRun:
    """A run in the dashboard's list of the newest."""
    return RecentRun(
        run.process_id,
        run.command_name,
        run.run_date.isoformat(),
        run.job_count,
        run.success_jobs,
        run.failed_jobs,
        run.total_time,
        run.peak_memory,
    )


def job_metric(job: JobRow) -> JobMetric:
    """A row of ``job-metrics``."""
    return JobMetric(
        job.job_id,
        job.process_id,
        job.command_name,
        job.execution_time,
        job.memory_usage,
        job.queue_time,
        "success" if job.status == "success" else "failed",
    )


def rates(jobs: JobStatistics) -> tuple[float, float]:
    """Percent that succeeded and that failed, rounded so that both add up to 100; 0 of none."""
    if not jobs.total_jobs:
        return 0.0, 0.0
    success = round(100 * jobs.success_jobs / jobs.total_jobs, 2)
    return success, round(100 - success, 2)
