"""What is not as usual, and what is known of what is."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import COMMANDS as COMMAND
from grafana.source.boards import Section, anomalies, board, starts
from grafana.source.expressions import (
    APP,
    COMMANDS,
    PERIOD,
    added,
    counted,
    increase,
    moment,
    newest,
)
from grafana.source.panels import Query, bars_of, graph, stat_of, timeline
from grafana.source.parts import GREEN, HALF, ORANGE, RED, Panel
from grafana.source.tables import Column, table_of

ONE = ("scope", "name", "signal")
NAMED = f'{APP}, name=~"$command"'


def anomalies_board() -> model.Dashboard:
    """``jobmon-anomalies``."""
    return board(
        "anomalies",
        "Anomalies",
        "What differs from what is usual, since when, and from how many runs that is known.",
        [
            Section("Is anything wrong now?", _now()),
            Section("What, and since when?", _since()),
            Section("What is usual?", _usual()),
        ],
        variables=[COMMAND],
        marks=[anomalies(NAMED), starts(COMMANDS, enabled=False)],
    )


def _now() -> list[Panel]:
    learned = newest("jobmon_baseline_runs", COMMANDS, "command")
    updated = newest("jobmon_baseline_updated_timestamp_seconds", COMMANDS, "command")
    return [
        stat_of(
            "Open",
            "Anomalies that are open. Good: 0.",
            counted(problems.unusual(NAMED)),
            steps=((1, ORANGE),),
            width=6,
        ),
        stat_of(
            "Opened",
            "Anomalies that opened in the time shown, of all commands. Good: few.",
            added(increase("jobmon_anomalies_total", APP, "scope", "signal", over=PERIOD)),
            decimals=0,
            width=6,
        ),
        stat_of(
            "Commands known well",
            "Commands with 20 runs or more behind their bounds; the alerts want as many. "
            "Good: all that run every day.",
            counted(f"({learned} >= 20)"),
            width=6,
        ),
        stat_of(
            "Learned",
            "When bounds were last learned. Good: within a day.",
            moment(f"max({updated})"),
            unit=units.DateTimeFromNow,
            absent="never",
            width=6,
        ),
    ]


def _since() -> list[Panel]:
    return [
        table_of(
            "Open anomalies",
            "What is not as usual now. A score is the number by what was usual. "
            "Good: nothing here.",
            {"app": "Application", "name": "Name", "signal": "Signal"},
            Column(
                "Score",
                f"{newest('jobmon_anomaly_score', NAMED, *ONE)} and on (app, scope, name, signal) "
                f"{problems.unusual(NAMED)}",
                decimals=1,
            ),
            sorted_by="Score",
            links={"Name": "command/command"},
            width=HALF,
        ),
        graph(
            "Opened by signal",
            "Anomalies that opened, of all commands. Good: few.",
            Query(
                f"{increase('jobmon_anomalies_total', APP, 'signal')} > 0",
                "{{signal}}",
            ),
            bars=True,
            stacked=True,
        ),
        timeline(
            "When they were open",
            "From when to when something was not as usual. Good: nothing orange.",
            newest("jobmon_anomaly_active", NAMED, *ONE),
            "{{name}}: {{signal}}",
            {0: ("as usual", GREEN), 1: ("not as usual", ORANGE)},
        ),
        graph(
            "Scores",
            "Each number by what was usual: 1 is as usual. Good: nothing here, or it comes to 1.",
            Query(newest("jobmon_anomaly_score", NAMED, *ONE), "{{name}}: {{signal}}"),
            smallest=None,
        ),
        bars_of(
            "Last durations against their bounds",
            "The last run of each command, as a share of the longest that is usual; the twenty "
            "highest. Good: below 100 %.",
            f"topk(20, {newest('jobmon_command_last_duration_seconds', COMMANDS, 'command')} "
            "/ on (app, command) "
            f"{newest('jobmon_command_duration_upper_bound_seconds', COMMANDS, 'command')})",
            "{{command}}",
            unit=units.PercentUnit,
            steps=((0.9, ORANGE), (1, RED)),
        ),
    ]


def _usual() -> list[Panel]:
    def known(family: str) -> str:
        return newest(f"jobmon_{family}", COMMANDS, "command")

    return [
        table_of(
            "Bounds",
            "Between which numbers a run of a command is usual. Good: learned from 20 runs or "
            "more, not long ago.",
            {"app": "Application", "command": "Command"},
            Column("Runs", known("baseline_runs")),
            Column(
                "Learned",
                moment(known("baseline_updated_timestamp_seconds")),
                units.DateTimeFromNow,
            ),
            Column(
                "Duration, at least", known("command_duration_lower_bound_seconds"), units.Seconds
            ),
            Column(
                "Duration, at most", known("command_duration_upper_bound_seconds"), units.Seconds
            ),
            Column("Jobs, at least", known("command_jobs_lower_bound")),
            Column("Jobs, at most", known("command_jobs_upper_bound")),
            Column(
                "Failed jobs, at most",
                known("command_failure_ratio_upper_bound"),
                units.PercentUnit,
            ),
            Column("Margin of the start", known("command_grace_seconds"), units.Seconds),
            sorted_by="Runs",
            links={"Command": "command/command"},
            height=10,
        ),
    ]
