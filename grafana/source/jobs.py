"""Jobs by name: how many, how they ended, how long they took."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import JOB_ENGINES, JOBS, QUEUES, Section, anomalies, board
from grafana.source.expressions import (
    APP,
    FAILED,
    JOB,
    PERIOD,
    QUEUE,
    added,
    failure_ratio,
    increase,
    newest,
    quantile,
    rate,
    total,
)
from grafana.source.panels import Query, graph, heatmap_of, stat_of
from grafana.source.parts import ORANGE, OUTCOMES, QUARTER, RATE, RED, THIRD, Panel
from grafana.source.tables import Column, table_of

FINISHED = "jobmon_jobs_finished_total"
DURATION = "jobmon_job_duration_seconds"


def jobs() -> model.Dashboard:
    """``jobmon-jobs``."""
    return board(
        "jobs",
        "Jobs",
        "Jobs of Celery and RQ by name: is anything wrong now, which job, since when, is it "
        "normal, what failed.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Which job?", [_all()]),
            Section("Since when?", _since()),
            Section("Is it normal?", _normal()),
            Section("What failed?", _failed()),
        ],
        variables=[JOB_ENGINES, QUEUES, JOBS],
        marks=[anomalies()],
    )


def _now() -> list[Panel]:
    failures = added(increase(FINISHED, f"{JOB}, {FAILED}", "job_name", over="5m"))
    ended = added(increase(FINISHED, JOB, "job_name", over="5m"))
    return [
        stat_of(
            "Ended, 5 minutes",
            "Attempts of jobs that ended in the last 5 minutes. Good: not 0 while jobs come in.",
            ended,
            decimals=0,
            width=QUARTER,
        ),
        stat_of(
            "Failed, 5 minutes",
            "Jobs that failed, timed out or were lost in the last 5 minutes. Good: 0.",
            failures,
            steps=((0.5, RED),),
            decimals=0,
            width=QUARTER,
        ),
        stat_of(
            "Running",
            "Jobs that run now. Good: fewer than there are slots.",
            added(newest("jobmon_jobs_in_progress", JOB, "engine", "queue", "job_name")),
            width=QUARTER,
        ),
        stat_of(
            "Late",
            "Jobs that wait or run for longer than the settings `late.*` allow. Good: 0.",
            added(problems.late_jobs(QUEUE)),
            steps=((1, ORANGE),),
            leads_to="queues",
            width=QUARTER,
        ),
    ]


def _all() -> Panel:
    def ended(outcomes: str) -> str:
        return increase(FINISHED, f'{JOB}, outcome=~"{outcomes}"', "job_name", over=PERIOD)

    return table_of(
        "Jobs",
        "By name, in the time shown. Good: no failures, few attempts that were retried.",
        {"app": "Application", "job_name": "Job"},
        Column("Completed", ended("completed"), decimals=0),
        Column("Failed", ended("failed|timed_out|lost"), decimals=0, steps=((0.5, RED),)),
        Column(
            "Failures",
            failure_ratio(FINISHED, JOB, "job_name", over=PERIOD),
            units.PercentUnit,
            steps=((0.01, ORANGE), (0.05, RED)),
        ),
        Column("Retried", ended("retried"), decimals=0, steps=((0.5, ORANGE),)),
        Column("Half took", quantile(0.5, DURATION, JOB, "job_name", over=PERIOD), units.Seconds),
        Column(
            "19 of 20 took", quantile(0.95, DURATION, JOB, "job_name", over=PERIOD), units.Seconds
        ),
        Column("Running", total("jobmon_jobs_in_progress", JOB, "job_name")),
        Column("Waiting", total("jobmon_jobs_pending", JOB, "job_name")),
        sorted_by="Failed",
        height=10,
    )


def _since() -> list[Panel]:
    return [
        graph(
            "Jobs by outcome",
            "Attempts as they ended. Good: completed alone.",
            Query(f"{increase(FINISHED, JOB, 'outcome')} > 0", "{{outcome}}", has_traces=True),
            bars=True,
            stacked=True,
            colors=OUTCOMES,
            width=THIRD,
        ),
        graph(
            "Failures",
            "Share of the jobs of each name that failed, timed out or were lost. Good: 0 %.",
            Query(failure_ratio(FINISHED, JOB, "job_name"), "{{job_name}}"),
            unit=units.PercentUnit,
            largest=1,
            width=THIRD,
        ),
        graph(
            "Published, started, ended",
            "Attempts a second. Good: the three lines are one; jobs pile up while fewer start "
            "than are published.",
            Query(rate("jobmon_jobs_enqueued_total", JOB), "published"),
            Query(rate("jobmon_jobs_started_total", JOB), "started"),
            Query(rate(FINISHED, JOB), "ended"),
            unit=RATE,
            width=THIRD,
        ),
    ]


def _normal() -> list[Panel]:
    return [
        graph(
            "Duration",
            "How long 19 of 20 jobs took at most, by name. A dot is one job, and leads to its "
            "trace where the datasource has a link for trace_id. Good: level.",
            Query(quantile(0.95, DURATION, JOB, "job_name"), "{{job_name}}", has_traces=True),
            unit=units.Seconds,
        ),
        heatmap_of(
            "Durations",
            "How many jobs took how long. Good: the same bands all the time.",
            DURATION,
            JOB,
        ),
        graph(
            "Waiting",
            "Jobs that have not started, by name. Good: it comes back to about 0.",
            Query(total("jobmon_jobs_pending", JOB, "job_name"), "{{job_name}}"),
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Running",
            "Jobs that run, by name. Good: below the number of slots.",
            Query(total("jobmon_jobs_in_progress", JOB, "job_name"), "{{job_name}}"),
            stacked=True,
            width=THIRD,
        ),
        graph(
            "Late",
            "Jobs that wait or run for longer than the settings `late.*` allow. Good: 0.",
            Query(total("jobmon_jobs_pending_late", QUEUE, "queue"), "{{queue}}, waiting"),
            Query(total("jobmon_jobs_in_progress_late", QUEUE, "queue"), "{{queue}}, running"),
            width=THIRD,
        ),
    ]


def _failed() -> list[Panel]:
    errors = "jobmon_job_errors_total"
    where = f'{APP}, job_name=~"$job_name"'
    return [
        graph(
            "Errors",
            "What attempts of jobs failed with, of all engines and queues. Good: none.",
            Query(f"{increase(errors, where, 'error_type')} > 0", "{{error_type}}"),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
        table_of(
            "Errors by job",
            "In the time shown, of all engines and queues. Good: nothing new.",
            {"job_name": "Job", "error_type": "Error"},
            Column(
                "Times",
                f"{increase(errors, where, 'job_name', 'error_type', over=PERIOD)} > 0",
                decimals=0,
            ),
            sorted_by="Times",
            width=THIRD,
        ),
        graph(
            "Taken for lost, and back",
            "Attempts that were counted as lost and turned up again. Good: none; they are signs "
            "of workers that were paused or cut off.",
            Query(
                f"{increase('jobmon_jobs_lost_corrected_total', JOB, 'job_name')} > 0",
                "{{job_name}}",
            ),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
    ]
