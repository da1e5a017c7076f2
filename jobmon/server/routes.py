"""Every endpoint of the server: path, envelope, and what each of its methods does."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from jobmon.answers.anomalies import Anomalies
from jobmon.answers.commands import Command, FinishedCommand, RecordedJob, RunningCommand
from jobmon.answers.failed import FailedJob, RetryProgress
from jobmon.answers.health import HealthReport, HealthStates
from jobmon.answers.history import CommandMetrics, Dashboard, JobMetrics
from jobmon.answers.job import Job
from jobmon.answers.late import LateJobs
from jobmon.answers.paginator import Paginator
from jobmon.answers.queues import Stats as Queues
from jobmon.answers.schedules import Schedules as Scheduled
from jobmon.answers.workers import Worker
from jobmon.history.read import HistoryReader
from jobmon.retry.retrier import Retrier
from jobmon.server import probes
from jobmon.server.anomalies import AnomaliesQuery, Deviations
from jobmon.server.command_metrics import CommandHistory, CommandMetricsQuery
from jobmon.server.commands import Commands, JobsQuery
from jobmon.server.dashboard import DashboardQuery, Overview
from jobmon.server.endpoints import Action, Endpoint, Message, Text
from jobmon.server.failures import Failures, FailuresQuery
from jobmon.server.health import Health
from jobmon.server.job_metrics import JobHistory, JobMetricsQuery
from jobmon.server.jobs import JobQuery, Jobs
from jobmon.server.late import Late
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.reference import Reference
from jobmon.server.responses import Style
from jobmon.server.schedules import Schedules
from jobmon.server.stats import Stats
from jobmon.server.workers import Workers
from jobmon.settings import Settings
from jobmon.store.reader import Reader

_TOTAL: Final = "x-total-count"
_LINK: Final = "link"
_PROMETHEUS: Final = Text("text/plain")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the handlers read."""

    settings: Settings
    reader: Reader
    history: HistoryReader
    retrier: Retrier
    migration: Migration
    health: Health
    exposition: Exposition


def endpoints(sources: Sources) -> list[Endpoint]:
    """All of them. The first whose path matches answers."""
    base = f"/{sources.settings.prefix}"
    table = [
        *_overview(base, sources),
        *_jobs(base, sources),
        *_retries(base, sources),
        *_commands(base, sources),
        *_history(base, sources),
        *_processes(base, sources),
        *_outside(sources),
    ]
    # Described with the rest, by the time that it is asked.
    table += _reference(base, Reference(table, sources.settings))
    return table


def _overview(base: str, sources: Sources) -> list[Endpoint]:
    settings = sources.settings
    overview = Overview(sources.history, sources.migration)
    stats = Stats(sources.reader, sources.history, sources.migration, settings)
    return [
        Endpoint(
            f"{base}/dashboard",
            Style.SUCCESS,
            {
                "GET": Action(
                    overview.dashboard,
                    "read",
                    summary="Everything at a glance",
                    query=DashboardQuery,
                    answer=Dashboard,
                )
            },
            failure="Failed to retrieve dashboard data",
            tag="Overview",
        ),
        Endpoint(
            f"{base}/health",
            Style.SUCCESS,
            {
                "GET": Action(
                    sources.health.answer,
                    "read",
                    summary="Whether Redis, the database and the history's age are as they should",
                    answer=HealthReport | HealthStates,
                    errors=(HTTPStatus.NOT_FOUND,),
                    unwell=True,
                )
            },
            failure="Failed to perform health check",
            tag="Overview",
            anonymous=settings.health_check.public,
            quiet=True,
        ),
        Endpoint(
            f"{base}/stats",
            Style.STATUS,
            {
                "GET": Action(
                    stats.queues,
                    "read",
                    summary="Jobs per queue: pending, processing, failed",
                    answer=Queues,
                )
            },
            tag="Overview",
        ),
    ]


def _jobs(base: str, sources: Sources) -> list[Endpoint]:
    settings, migration = sources.settings, sources.migration
    failures = Failures(sources.history, sources.retrier, migration, settings)
    late = Late(sources.reader, settings)
    jobs = Jobs(sources.reader, sources.history, migration)
    return [
        Endpoint(
            f"{base}/jobs/failed",
            Style.BARE,
            {
                "GET": Action(
                    failures.all,
                    "read",
                    summary="Failed jobs, newest first",
                    query=FailuresQuery,
                    answer=Paginator[FailedJob],
                )
            },
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/jobs/late",
            Style.SUCCESS,
            {
                "GET": Action(
                    late.all,
                    "read",
                    summary="Jobs that run, or wait to run, for longer than they should",
                    answer=LateJobs,
                )
            },
            failure="Failed to retrieve late jobs",
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/jobs/{{jobId}}",
            Style.SUCCESS,
            {
                "GET": Action(
                    jobs.one,
                    "read",
                    summary="One job with its attempts, its exception and its arguments",
                    query=JobQuery,
                    answer=Job,
                )
            },
            failure="Failed to retrieve job",
            tag="Jobs",
        ),
    ]


def _retries(base: str, sources: Sources) -> list[Endpoint]:
    failures = Failures(sources.history, sources.retrier, sources.migration, sources.settings)
    return [
        Endpoint(
            f"{base}/jobs/failed/{{id}}/retry",
            Style.STATUS,
            {
                "POST": Action(
                    failures.retry,
                    "operate",
                    summary="Push a failed job back onto its queue",
                    answer=Message,
                    errors=(HTTPStatus.CONFLICT,),
                    not_found="Could not retry job [{id}]. It may no longer exist.",
                )
            },
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/jobs/failed/{{id}}",
            Style.STATUS,
            {
                "DELETE": Action(
                    failures.delete,
                    "operate",
                    summary="Delete a failed job; the history of its run stays",
                    answer=Message,
                    not_found="Could not delete job [{id}]. It may no longer exist.",
                )
            },
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/commands/{{processId}}/retry-failed",
            Style.STATUS,
            {
                "GET": Action(
                    failures.progress,
                    "read",
                    summary="How far it is that all failed jobs of a run are run again",
                    answer=RetryProgress,
                ),
                "POST": Action(
                    failures.retry_run,
                    "operate",
                    summary="Run all failed jobs of a run again",
                    answer=Message,
                    cost=5,
                ),
            },
            tag="Commands",
        ),
    ]


def _commands(base: str, sources: Sources) -> list[Endpoint]:
    commands = Commands(sources.reader, sources.history, sources.migration, sources.settings)
    return [
        Endpoint(
            f"{base}/commands/running",
            Style.STATUS,
            {
                "GET": Action(
                    commands.running,
                    "read",
                    summary="Open command runs, newest first, at most 1,000",
                    answer=list[RunningCommand],
                    headers=(_TOTAL,),
                )
            },
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/finished",
            Style.STATUS,
            {
                "GET": Action(
                    commands.finished,
                    "read",
                    summary="Command runs that ended a while ago, newest first, at most 1,000",
                    answer=list[FinishedCommand],
                    headers=(_TOTAL,),
                )
            },
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/{{processId}}/jobs",
            Style.STATUS,
            {
                "GET": Action(
                    commands.jobs,
                    "read",
                    summary="Records of a run's jobs by creation, at most 10,000 a page",
                    query=JobsQuery,
                    answer=list[RecordedJob],
                    headers=(_TOTAL, _LINK),
                )
            },
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/{{processId}}",
            Style.SUCCESS,
            {
                "GET": Action(
                    commands.run, "read", summary="One run with its counters", answer=Command
                )
            },
            failure="Failed to retrieve command",
            tag="Commands",
        ),
    ]


def _history(base: str, sources: Sources) -> list[Endpoint]:
    settings, history, migration = sources.settings, sources.history, sources.migration
    runs = CommandHistory(history, migration, settings)
    jobs = JobHistory(history, migration, settings)
    deviations = Deviations(history, migration, settings)
    return [
        Endpoint(
            f"{base}/command-metrics",
            Style.SUCCESS,
            {
                "GET": Action(
                    runs.runs,
                    "read",
                    summary="Runs of a command, newest first, and their trends",
                    query=CommandMetricsQuery,
                    answer=CommandMetrics,
                )
            },
            failure="Failed to retrieve command metrics",
            tag="Metrics",
        ),
        Endpoint(
            f"{base}/job-metrics",
            Style.SUCCESS,
            {
                "GET": Action(
                    jobs.jobs,
                    "read",
                    summary="Jobs that ended, newest first, and their statistics",
                    query=JobMetricsQuery,
                    answer=JobMetrics,
                )
            },
            failure="Failed to retrieve job metrics",
            tag="Metrics",
        ),
        Endpoint(
            f"{base}/anomalies",
            Style.SUCCESS,
            {
                "GET": Action(
                    deviations.all,
                    "read",
                    summary="Deviations that the analysis found, newest first",
                    query=AnomaliesQuery,
                    answer=Anomalies,
                )
            },
            failure="Failed to retrieve anomalies",
            tag="Metrics",
        ),
    ]


def _processes(base: str, sources: Sources) -> list[Endpoint]:
    schedules = Schedules(sources.reader)
    workers = Workers(sources.reader)
    return [
        Endpoint(
            f"{base}/schedules",
            Style.SUCCESS,
            {
                "GET": Action(
                    schedules.all,
                    "read",
                    summary="Schedulers, alive or not, and the entries of their schedules",
                    answer=Scheduled,
                )
            },
            failure="Failed to retrieve schedules",
            tag="Processes",
        ),
        Endpoint(
            f"{base}/workers",
            Style.SUCCESS,
            {
                "GET": Action(
                    workers.all,
                    "read",
                    summary="Workers that live, and those that died a while ago",
                    answer=list[Worker],
                )
            },
            failure="Failed to retrieve workers",
            tag="Processes",
        ),
    ]


def _reference(base: str, reference: Reference) -> list[Endpoint]:
    return [
        Endpoint(
            f"{base}/{name}",
            Style.SUCCESS,
            {
                "GET": Action(
                    handler, "read", summary=summary, answer=Text(media_type), headers=("etag",)
                )
            },
            tag="Document",
        )
        for name, handler, summary, media_type in (
            ("openapi.json", reference.document, "This document", "application/json"),
            ("docs", reference.page, "This document as a page", "text/html"),
        )
    ]


def _outside(sources: Sources) -> list[Endpoint]:
    """What is not below the prefix: probes and Prometheus."""
    exposition = sources.exposition
    live, ready = probes.PATHS
    return [
        _probe(live, Action(probes.alive, None, summary="The process runs", answer=None, cost=0)),
        _probe(
            ready,
            Action(
                sources.migration.ready,
                None,
                summary="The configuration is valid and the tables are there",
                answer=None,
                unwell=True,
                cost=0,
            ),
        ),
        *(
            Endpoint(
                path,
                Style.SUCCESS,
                {"GET": Action(handler, "metrics", summary=summary, answer=_PROMETHEUS, cost=0)},
                tag="Monitoring",
                anonymous=sources.settings.metrics.public,
                quiet=True,
            )
            for path, handler, summary in (
                ("/metrics", exposition.shared, "For Prometheus: what every replica answers alike"),
                ("/metrics/self", exposition.own, "For Prometheus: this server process alone"),
            )
        ),
    ]


def _probe(path: str, action: Action) -> Endpoint:
    return Endpoint(path, Style.SUCCESS, {"GET": action}, tag="Monitoring", quiet=True)
