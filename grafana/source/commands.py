"""All commands: one row each, and when they ran."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import COMMANDS as COMMAND
from grafana.source.boards import Section, anomalies, board, starts
from grafana.source.expressions import (
    COMMANDS,
    FAILED,
    PERIOD,
    added,
    counted,
    increase,
    moment,
    newest,
    quantile,
    total,
)
from grafana.source.panels import Query, graph, stat_of, timeline
from grafana.source.parts import BAD_FROM_ONE, GREEN, ORANGE, QUARTER, RED, Panel
from grafana.source.tables import Column, table_of

BAD = f"{COMMANDS}, {FAILED}"


def commands() -> model.Dashboard:
    """``jobmon-commands``."""
    return board(
        "commands",
        "Commands",
        "Every command: how its last run went, when the next is due, and what is usual.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Which command?", [_all()]),
            Section("Since when?", _since()),
            Section("How long, and how many jobs?", _runs()),
        ],
        variables=[COMMAND],
        marks=[anomalies(), starts(COMMANDS, enabled=False)],
    )


def _now() -> list[Panel]:
    return [
        stat_of(
            "Late",
            "Commands that should have started by now, their margin included. Good: 0.",
            counted(problems.late(COMMANDS)),
            steps=BAD_FROM_ONE,
            width=QUARTER,
        ),
        stat_of(
            "Last run failed",
            "Commands whose last run did not complete. Good: 0.",
            counted(problems.failed(COMMANDS)),
            steps=BAD_FROM_ONE,
            width=QUARTER,
        ),
        stat_of(
            "Longer than usual",
            "Commands that run now, and for longer than they used to. Good: 0.",
            counted(problems.too_long(COMMANDS)),
            steps=((1, ORANGE),),
            width=QUARTER,
        ),
        stat_of(
            "Running",
            "Runs that are open now. Good: as many as you expect; two of one command overlap.",
            added(newest("jobmon_command_runs_in_progress", COMMANDS, "command")),
            width=QUARTER,
        ),
    ]


def _all() -> Panel:
    def known(family: str) -> str:
        return newest(f"jobmon_command_{family}", COMMANDS, "command")

    runs = increase("jobmon_command_runs_total", COMMANDS, "command", over=PERIOD)
    failures = increase("jobmon_command_runs_total", BAD, "command", over=PERIOD)
    return table_of(
        "Commands",
        "Follow a name to see one command. Runs and failures are those of the time shown. "
        "Good: the last run well, the next one in the future, the duration below its bound.",
        {
            "app": "Application",
            "command": "Command",
            "schedule": "Schedule",
            "owner": "Owner",
        },
        Column(
            "Last run",
            known("last_run_failed"),
            states={0: ("well", GREEN), 1: ("failed", RED)},
        ),
        Column("Started", moment(known("last_start_timestamp_seconds")), units.DateTimeFromNow),
        Column(
            "Last success", moment(known("last_success_timestamp_seconds")), units.DateTimeFromNow
        ),
        Column("Next", moment(problems.expected(COMMANDS)), units.DateTimeFromNow),
        Column("Duration", known("last_duration_seconds"), units.Seconds),
        Column("Usual at most", known("duration_upper_bound_seconds"), units.Seconds),
        Column("Open jobs", known("jobs_pending")),
        Column("Runs", runs, decimals=0),
        Column("Failed", failures, decimals=0, steps=((0.5, RED),)),
        about=newest("jobmon_command_info", COMMANDS, "command", "schedule", "owner"),
        sorted_by="Started",
        links={"Command": "command/command"},
        height=12,
    )


def _since() -> list[Panel]:
    return [
        timeline(
            "When they ran",
            "When each command ran, and from when on its last run was a failure. Runs shorter "
            "than the interval of scrapes do not show. Good: green and blue.",
            problems.state_of(COMMANDS),
            "{{command}}",
            problems.STATES,
            height=12,
        ),
        graph(
            "Runs that ended",
            "By command, as they ended. Good: the same pattern every day.",
            Query(
                f"{increase('jobmon_command_runs_total', COMMANDS, 'command')} > 0",
                "{{command}}",
            ),
            bars=True,
            stacked=True,
        ),
        graph(
            "Runs that did not complete",
            "By command and outcome. Good: none.",
            Query(
                f"{increase('jobmon_command_runs_total', BAD, 'command', 'outcome')} > 0",
                "{{command}} {{outcome}}",
            ),
            bars=True,
            stacked=True,
        ),
    ]


def _runs() -> list[Panel]:
    return [
        graph(
            "Duration of the last run",
            "A step each time that a run ends. Good: level.",
            Query(
                newest("jobmon_command_last_duration_seconds", COMMANDS, "command"),
                "{{command}}",
            ),
            unit=units.Seconds,
            stepped=True,
        ),
        graph(
            "Until the last job",
            "Time from the start of a run to the end of the last job it led to, in which 19 of 20 "
            "runs were done. Good: level.",
            Query(
                quantile(0.95, "jobmon_command_drain_duration_seconds", COMMANDS, "command"),
                "{{command}}",
            ),
            unit=units.Seconds,
        ),
        graph(
            "Jobs that ended",
            "Jobs of each command. Good: in proportion to its runs.",
            Query(
                f"{increase('jobmon_command_jobs_finished_total', COMMANDS, 'command')} > 0",
                "{{command}}",
            ),
            bars=True,
            stacked=True,
        ),
        graph(
            "Open jobs",
            "Jobs that wait or run, by the command that led to them. Good: it comes back to 0.",
            Query(total("jobmon_command_jobs_pending", COMMANDS, "command"), "{{command}}"),
            stacked=True,
        ),
    ]
