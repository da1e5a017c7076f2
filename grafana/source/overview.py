"""The first dashboard to open: is anything wrong, which command, since when, what failed."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import Section, anomalies, board, starts
from grafana.source.expressions import (
    APP,
    FAILED,
    PERIOD,
    added,
    counted,
    failure_ratio,
    increase,
    moment,
    newest,
    quantile,
    total,
)
from grafana.source.panels import Query, bars_of, graph, stat_of, timeline
from grafana.source.parts import BAD_FROM_ONE, GREEN, ORANGE, RED, THIRD, Panel
from grafana.source.tables import Column, table_of

LEADER: Final = f'{APP}, lease="leader"'


def overview() -> model.Dashboard:
    """``jobmon-overview``."""
    return board(
        "overview",
        "Overview",
        "Is anything wrong now, which command, since when, is it normal, what failed.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Which command, and since when?", _which()),
            Section("Is it normal?", _normal()),
            Section("What failed?", _failed()),
        ],
        marks=[anomalies(), starts(APP, enabled=False)],
    )


def _now() -> list[Panel]:
    return [
        stat_of(
            "Commands late",
            "Commands that should have started by now, their margin included. Good: 0.",
            counted(problems.late()),
            steps=BAD_FROM_ONE,
            leads_to="commands",
        ),
        stat_of(
            "Commands failed",
            "Commands whose last run did not complete. Good: 0.",
            counted(problems.failed()),
            steps=BAD_FROM_ONE,
            leads_to="commands",
        ),
        stat_of(
            "Not as usual",
            "Anomalies that are open: duration, failures, number of jobs, missed runs. Good: 0.",
            counted(problems.unusual()),
            steps=((1, ORANGE),),
            leads_to="anomalies",
        ),
        stat_of(
            "Late jobs",
            "Jobs that wait or run for longer than the settings `late.*` allow. Good: 0.",
            added(problems.late_jobs()),
            steps=((1, ORANGE),),
            leads_to="jobs",
        ),
        stat_of(
            "Queues without workers",
            "Queues in which jobs wait and that no worker serves. Good: 0.",
            counted(problems.without_workers()),
            steps=BAD_FROM_ONE,
            leads_to="queues",
        ),
        stat_of(
            "Workers lost",
            "Workers that fell silent in the last 10 minutes; one that was stopped is none. "
            "Good: 0.",
            counted(problems.workers_down()),
            steps=BAD_FROM_ONE,
            leads_to="workers",
        ),
        stat_of(
            "Schedulers down",
            "Schedulers whose loop does not turn, so nothing that they send will start. Good: 0.",
            counted(problems.schedulers_down()),
            steps=BAD_FROM_ONE,
            leads_to="workers",
        ),
        stat_of(
            "jobmon",
            "Whether a server leads, which copies, judges and tells. Without one, what this "
            "dashboard shows of anomalies is old. Good: works.",
            f"min({newest('jobmon_lease_held', LEADER)})",
            states={0: ("no leader", RED), 1: ("works", GREEN)},
            absent="not scraped",
            leads_to="health",
        ),
    ]


def _problem(name: str, since: str) -> str:
    return f'label_replace({since}, "problem", "{name}", "", "")'


def _which() -> list[Panel]:
    found = " or ".join(
        (
            _problem("last run failed", problems.failed()),
            _problem("late", problems.late()),
            _problem("runs for longer than usual", problems.too_long()),
        )
    )
    return [
        table_of(
            "Commands that need a look",
            "What is wrong with a command, and since when: the end of the failed run, the moment "
            "at which the next should have started, or at which this one should have ended. "
            "Good: nothing here.",
            {"command": "Command", "problem": "Problem"},
            Column("Since", moment(f"({found})"), units.DateTimeFromNow),
            sorted_by="Since",
            links={"Command": "command/command"},
            width=10,
        ),
        graph(
            "Problems over time",
            "How many of each there were: since when. Good: nothing above 0.",
            Query(counted(problems.late()), "commands late"),
            Query(counted(problems.failed()), "commands failed"),
            Query(counted(problems.unusual()), "not as usual"),
            Query(counted(problems.without_workers()), "queues without workers"),
            Query(counted(problems.workers_down()), "workers lost"),
            Query(counted(problems.schedulers_down()), "schedulers down"),
            width=14,
        ),
        timeline(
            "Commands",
            "When each command ran, and from when on its last run was a failure. Runs shorter "
            "than the interval of scrapes do not show. Good: green and blue.",
            problems.state_of(APP),
            "{{command}}",
            problems.STATES,
            height=10,
        ),
    ]


def _normal() -> list[Panel]:
    last = newest("jobmon_command_last_duration_seconds", APP, "command")
    bound = newest("jobmon_command_duration_upper_bound_seconds", APP, "command")
    return [
        bars_of(
            "Last duration against its bound",
            "The last run of a command, as a share of the longest that is usual for it; the ten "
            "highest. Good: below 100 %.",
            f"topk(10, {last} / on (app, command) {bound})",
            "{{command}}",
            unit=units.PercentUnit,
            steps=((0.9, ORANGE), (1, RED)),
            width=THIRD,
        ),
        graph(
            "Time in queues",
            "How long 19 of 20 jobs waited at most, by queue; dashed: the longest that is usual. "
            "Good: below the dashed line.",
            Query(quantile(0.95, "jobmon_job_queue_time_seconds", APP, "queue"), "{{queue}}"),
            Query(
                newest("jobmon_queue_time_upper_bound_seconds", APP, "queue"),
                "{{queue}}, bound",
                is_bound=True,
            ),
            unit=units.Seconds,
            width=THIRD,
        ),
        graph(
            "Jobs waiting",
            "Jobs in each queue that could run. Good: it comes back to about 0.",
            Query(total("jobmon_queue_jobs", f'{APP}, state="waiting"', "queue"), "{{queue}}"),
            stacked=True,
            width=THIRD,
        ),
    ]


def _failed() -> list[Panel]:
    errors = increase("jobmon_job_errors_total", APP, "job_name", "error_type", over=PERIOD)
    return [
        graph(
            "Failed jobs",
            "Jobs that ended failed, timed out or lost, by name. Good: none.",
            Query(
                increase("jobmon_jobs_finished_total", f"{APP}, {FAILED}", "job_name") + " > 0",
                "{{job_name}}",
            ),
            bars=True,
            stacked=True,
            width=THIRD,
        ),
        table_of(
            "Errors",
            "What the jobs failed with, in the time shown. Good: nothing new.",
            {"job_name": "Job", "error_type": "Error"},
            Column(
                "Times",
                f"topk(20, {errors} > 0)",
                decimals=0,
            ),
            sorted_by="Times",
            links={"Job": "jobs/job_name"},
            width=THIRD,
        ),
        graph(
            "Failed jobs of commands",
            "Share of the jobs of each command that failed. Good: 0 %.",
            Query(
                failure_ratio("jobmon_command_jobs_finished_total", APP, "command"),
                "{{command}}",
            ),
            unit=units.PercentUnit,
            largest=1,
            width=THIRD,
        ),
    ]
