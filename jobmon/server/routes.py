"""Every endpoint of the server: path, envelope, and what each of its methods does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from jobmon.analysis.rounds import Rounds
from jobmon.answers.analysis import Analysis
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
from jobmon.server.analysis import LONGEST_SECONDS, Analyses, AnalysisBody
from jobmon.server.anomalies import AnomaliesQuery, Deviations
from jobmon.server.command_metrics import CommandHistory, CommandMetricsQuery
from jobmon.server.commands import Commands, JobsQuery
from jobmon.server.dashboard import DashboardQuery, Overview
from jobmon.server.endpoints import Action, Endpoint, Handler, Message, Text
from jobmon.server.failures import Failures, FailuresQuery
from jobmon.server.health import Health
from jobmon.server.job_metrics import JobHistory, JobMetricsQuery
from jobmon.server.jobs import JobQuery, Jobs
from jobmon.server.late import Late
from jobmon.server.metrics import Exposition
from jobmon.server.migration import Migration
from jobmon.server.query import Query
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
    rounds: Rounds
    migration: Migration
    health: Health
    exposition: Exposition


def endpoints(sources: Sources) -> list[Endpoint]:
    """All of them. The first whose path matches answers."""
    base = f"/{sources.settings.prefix}"
    failures = Failures(sources.history, sources.retrier, sources.migration, sources.settings)
    table = [
        *_overview(base, sources),
        *_jobs(base, sources, failures),
        *_retries(base, failures),
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
            _read(overview.dashboard, "Everything at a glance", Dashboard, query=DashboardQuery),
            failure="Failed to retrieve dashboard data",
            tag="Overview",
        ),
        Endpoint(
            f"{base}/health",
            Style.SUCCESS,
            _read(
                sources.health.answer,
                "Whether Redis and the database answer, and the history is not too old",
                HealthReport | HealthStates,
                errors=(HTTPStatus.NOT_FOUND,),
                unwell=True,
            ),
            failure="Failed to perform health check",
            tag="Overview",
            anonymous=settings.health_check.public,
            quiet=True,
        ),
        Endpoint(
            f"{base}/stats",
            Style.STATUS,
            _read(stats.queues, "Jobs per queue: pending, processing, failed", Queues),
            tag="Overview",
        ),
    ]


def _jobs(base: str, sources: Sources, failures: Failures) -> list[Endpoint]:
    settings, migration = sources.settings, sources.migration
    late = Late(sources.reader, settings)
    jobs = Jobs(sources.reader, sources.history, migration, settings)
    return [
        Endpoint(
            f"{base}/jobs/failed",
            Style.BARE,
            _read(
                failures.all, "Failed jobs, newest first", Paginator[FailedJob], query=FailuresQuery
            ),
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/jobs/late",
            Style.SUCCESS,
            _read(late.all, "Jobs that run, or wait to run, for longer than they should", LateJobs),
            failure="Failed to retrieve late jobs",
            tag="Jobs",
        ),
        Endpoint(
            f"{base}/jobs/{{jobId}}",
            Style.SUCCESS,
            _read(
                jobs.one,
                "One job with its attempts, its exception and its arguments",
                Job,
                query=JobQuery,
            ),
            failure="Failed to retrieve job",
            tag="Jobs",
        ),
    ]


def _retries(base: str, failures: Failures) -> list[Endpoint]:
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
                    errors=(HTTPStatus.CONFLICT,),
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
            _read(
                commands.running,
                "Open command runs, newest first, at most 1,000",
                list[RunningCommand],
                headers=(_TOTAL,),
            ),
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/finished",
            Style.STATUS,
            _read(
                commands.finished,
                "Command runs that ended a while ago, newest first, at most 1,000",
                list[FinishedCommand],
                headers=(_TOTAL,),
            ),
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/{{processId}}/jobs",
            Style.STATUS,
            _read(
                commands.jobs,
                "Records of a run's jobs by creation, at most 10,000 a page",
                list[RecordedJob],
                query=JobsQuery,
                headers=(_TOTAL, _LINK),
            ),
            tag="Commands",
        ),
        Endpoint(
            f"{base}/commands/{{processId}}",
            Style.SUCCESS,
            _read(commands.run, "One run with its counters", Command),
            failure="Failed to retrieve command",
            tag="Commands",
        ),
    ]


def _history(base: str, sources: Sources) -> list[Endpoint]:
    settings, history, migration = sources.settings, sources.history, sources.migration
    runs = CommandHistory(history, migration, settings)
    jobs = JobHistory(history, migration, settings)
    deviations = Deviations(history, migration, settings)
    analyses = Analyses(sources.rounds, migration, settings)
    return [
        Endpoint(
            f"{base}/command-metrics",
            Style.SUCCESS,
            _read(
                runs.runs,
                "Runs of a command, newest first, and their trends",
                CommandMetrics,
                query=CommandMetricsQuery,
            ),
            failure="Failed to retrieve command metrics",
            tag="Metrics",
        ),
        Endpoint(
            f"{base}/job-metrics",
            Style.SUCCESS,
            _read(
                jobs.jobs,
                "Jobs that ended, newest first, and their statistics",
                JobMetrics,
                query=JobMetricsQuery,
            ),
            failure="Failed to retrieve job metrics",
            tag="Metrics",
        ),
        Endpoint(
            f"{base}/anomalies",
            Style.SUCCESS,
            _read(
                deviations.all,
                "Deviations that the analysis found, newest first",
                Anomalies,
                query=AnomaliesQuery,
            ),
            failure="Failed to retrieve anomalies",
            tag="Analysis",
        ),
        Endpoint(
            f"{base}/analysis",
            Style.SUCCESS,
            {
                "POST": Action(
                    analyses.now,
                    "operate",
                    summary="Judge the newest run of every command, or of one, now",
                    answer=Analysis,
                    body=AnalysisBody,
                    errors=(HTTPStatus.CONFLICT,),
                    cost=10,
                    longest_seconds=LONGEST_SECONDS,
                )
            },
            failure="Failed to run analysis",
            tag="Analysis",
        ),
    ]


def _processes(base: str, sources: Sources) -> list[Endpoint]:
    schedules = Schedules(sources.reader)
    workers = Workers(sources.reader)
    return [
        Endpoint(
            f"{base}/schedules",
            Style.SUCCESS,
            _read(
                schedules.all,
                "Schedulers, alive or not, and the entries of their schedules",
                Scheduled,
            ),
            failure="Failed to retrieve schedules",
            tag="Processes",
        ),
        Endpoint(
            f"{base}/workers",
            Style.SUCCESS,
            _read(workers.all, "Workers that live, and those that died a while ago", list[Worker]),
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
                {
                    "GET": Action(
                        handler,
                        "metrics",
                        summary=f"For Prometheus: {summary}",
                        answer=_PROMETHEUS,
                        cost=0,
                    )
                },
                tag="Monitoring",
                anonymous=sources.settings.metrics.public,
                quiet=True,
            )
            for path, handler, summary in (
                ("/metrics", exposition.shared, "what every replica answers alike"),
                ("/metrics/self", exposition.own, "this server process alone"),
                (
                    "/metrics/compat/{exporter}",
                    exposition.compat,
                    "the same under the names that another exporter uses",
                ),
            )
        ),
    ]


def _read(
    handler: Handler,
    summary: str,
    answer: Any,
    *,
    query: type[Query] | None = None,
    headers: Sequence[str] = (),
    errors: Sequence[HTTPStatus] = (),
    unwell: bool = False,
) -> dict[str, Action]:
    """What an endpoint that is read does."""
    action = Action(
        handler,
        "read",
        summary=summary,
        answer=answer,
        query=query,
        headers=headers,
        errors=errors,
        unwell=unwell,
    )
    return {"GET": action}


def _probe(path: str, action: Action) -> Endpoint:
    return Endpoint(path, Style.SUCCESS, {"GET": action}, tag="Monitoring", quiet=True)
