"""One command: its state, its runs against what is usual, its jobs."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana.source import problems
from grafana.source.boards import COMMAND as ONE
from grafana.source.boards import JOBS, Section, anomalies, board, starts
from grafana.source.expressions import (
    APP,
    COMMAND,
    age,
    counted,
    failure_ratio,
    increase,
    moment,
    newest,
    quantile,
    total,
)
from grafana.source.panels import Query, graph, heatmap_of, stat_of, timeline
from grafana.source.parts import GREEN, ORANGE, OUTCOMES, RED, THIRD, Panel

SIGNALS = f'{APP}, scope="command", name="$command"'


def command() -> model.Dashboard:
    """``jobmon-command``."""
    return board(
        "command",
        "Command",
        "One command: is anything wrong with it now, since when, is it normal, what failed.",
        [
            Section("Is anything wrong now?", _now()),
            Section("Since when?", _since()),
            Section("Is it normal?", _normal()),
            Section("What failed?", _failed()),
        ],
        variables=[ONE, JOBS._replace(where=APP)],
        marks=[starts(COMMAND), anomalies(SIGNALS)],
    )


def known(family: str) -> str:
    """A gauge of the command."""
    return newest(f"jobmon_command_{family}", COMMAND, "command")


def _now() -> list[Panel]:
    return [
        stat_of(
            "Last run",
            "Whether the run that ended last completed. Good: well.",
            known("last_run_failed"),
            states={0: ("well", GREEN), 1: ("failed", RED)},
            absent="no run yet",
        ),
        stat_of(
            "Last success",
            "When a run last completed. Good: not longer ago than its schedule has gaps.",
            moment(known("last_success_timestamp_seconds")),
            unit=units.DateTimeFromNow,
            absent="never",
        ),
        stat_of(
            "Next run",
            "When a run has to start at the latest, its margin included. Good: in the future.",
            moment(problems.expected(COMMAND)),
            unit=units.DateTimeFromNow,
            absent="no schedule",
        ),
        stat_of(
            "Late",
            "Whether the next run should have started by now. Good: in time.",
            counted(problems.late(COMMAND)),
            states={0: ("in time", GREEN), 1: ("late", RED)},
        ),
        stat_of(
            "Running",
            "Runs that are open. Good: 0 or 1; more of them overlap.",
            known("runs_in_progress"),
            steps=((2, ORANGE),),
        ),
        stat_of(
            "Running for",
            "Time since the oldest open run started. Good: below the usual duration.",
            age(known("oldest_running_start_timestamp_seconds")),
            unit=units.Seconds,
            absent="not running",
        ),
        stat_of(
            "Open jobs",
            "Jobs that wait or run. Good: 0 some time after a run.",
            known("jobs_pending"),
        ),
        stat_of(
            "Not as usual",
            "Anomalies of the command that are open. Good: 0.",
            counted(problems.unusual(SIGNALS)),
            steps=((1, ORANGE),),
            leads_to="anomalies",
        ),
    ]


def _since() -> list[Panel]:
    return [
        timeline(
            "State",
            "When it ran, and from when on its last run was a failure. Good: green and blue.",
            problems.state_of(COMMAND),
            "{{command}}",
            problems.STATES,
            height=5,
        ),
        graph(
            "Runs by outcome",
            "Runs as they ended. Good: completed alone.",
            Query(
                f"{increase('jobmon_command_runs_total', COMMAND, 'outcome')} > 0", "{{outcome}}"
            ),
            bars=True,
            stacked=True,
            colors=OUTCOMES,
        ),
        graph(
            "Anomalies",
            "What is not as usual, as the number by what was usual: 1 is as usual. "
            "Good: nothing here.",
            Query(
                newest("jobmon_anomaly_score", SIGNALS, "signal"),
                "{{signal}}",
            ),
            smallest=None,
        ),
    ]


def _normal() -> list[Panel]:
    return [
        graph(
            "Duration",
            "Duration of the last run, and how long the open one has run; dashed: the bounds "
            "between which it is usual. Good: between them.",
            Query(known("last_duration_seconds"), "last run"),
            Query(age(known("oldest_running_start_timestamp_seconds")), "open run"),
            Query(known("duration_upper_bound_seconds"), "usual at most", is_bound=True),
            Query(known("duration_lower_bound_seconds"), "usual at least", is_bound=True),
            unit=units.Seconds,
            stepped=True,
            width=THIRD,
        ),
        graph(
            "Failed jobs of a run",
            "Share of the jobs of the last run that failed; dashed: the highest that is usual. "
            "Good: below the dashed line.",
            Query(known("last_failure_ratio"), "last run"),
            Query(known("failure_ratio_upper_bound"), "usual at most", is_bound=True),
            unit=units.PercentUnit,
            stepped=True,
            width=THIRD,
        ),
        graph(
            "Jobs of a run",
            "Jobs that the last run led to; dashed: the bounds between which it is usual. "
            "Good: between them.",
            Query(known("last_jobs"), "last run"),
            Query(known("jobs_upper_bound"), "usual at most", is_bound=True),
            Query(known("jobs_lower_bound"), "usual at least", is_bound=True),
            stepped=True,
            width=THIRD,
        ),
        heatmap_of(
            "Durations of runs",
            "How many runs took how long. Good: one band.",
            "jobmon_command_run_duration_seconds",
            COMMAND,
            width=THIRD,
        ),
        heatmap_of(
            "Durations until the last job",
            "How many runs took how long, from their start to the end of the last job they led "
            "to. Good: one band.",
            "jobmon_command_drain_duration_seconds",
            COMMAND,
            width=THIRD,
        ),
        graph(
            "What is known of it",
            "Runs from which the bounds were learned. Good: 20 or more; the alerts want as many.",
            Query(newest("jobmon_baseline_runs", COMMAND, "command"), "runs"),
            stepped=True,
            width=THIRD,
        ),
    ]


def _failed() -> list[Panel]:
    finished = "jobmon_command_jobs_finished_total"
    corrected = "jobmon_command_{}_lost_corrected_total"
    return [
        graph(
            "Jobs by outcome",
            "Attempts of its jobs as they ended. Good: completed alone.",
            Query(f"{increase(finished, COMMAND, 'outcome')} > 0", "{{outcome}}"),
            bars=True,
            stacked=True,
            colors=OUTCOMES,
        ),
        graph(
            "Failed jobs",
            "Share of its jobs that failed, timed out or were lost. Good: 0 %.",
            Query(failure_ratio(finished, COMMAND, "command"), "failed"),
            unit=units.PercentUnit,
            largest=1,
        ),
        graph(
            "Open jobs",
            "Its jobs that wait or run. Good: it comes back to 0 after each run.",
            Query(total("jobmon_command_jobs_pending", COMMAND, "command"), "open"),
            width=THIRD,
        ),
        graph(
            "Taken for lost, and back",
            "Runs and jobs that were counted as lost and turned up again. Good: none; they are "
            "signs of workers that were paused or cut off.",
            Query(
                f"{increase(corrected.format('runs'), COMMAND, 'command')} > 0",
                "runs",
            ),
            Query(
                f"{increase(corrected.format('jobs'), COMMAND, 'command')} > 0",
                "jobs",
            ),
            bars=True,
            width=THIRD,
        ),
        graph(
            "Duration of jobs, with traces",
            "How long 19 of 20 jobs took at most, by name. Choose the command's jobs above: "
            "metrics do not tell which they are. A dot is one job, and leads to its trace where "
            "the datasource has a link for trace_id. Good: level.",
            Query(
                quantile(
                    0.95,
                    "jobmon_job_duration_seconds",
                    f'{APP}, job_name=~"$job_name"',
                    "job_name",
                ),
                "{{job_name}}",
                has_traces=True,
            ),
            unit=units.Seconds,
            width=THIRD,
        ),
    ]
