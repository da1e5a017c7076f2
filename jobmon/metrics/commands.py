"""Families of commands: their runs, how the last one went, and the jobs they led to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.model import Outcome
from jobmon.store.series import COMMAND_BUCKETS
from jobmon.store.state import CommandSeries, Totals

_COMMAND: Final = ("command",)
_ALWAYS: Final = (Outcome.COMPLETED, Outcome.FAILED)
"""Outcomes of jobs shown from 0 on, so that ``increase()`` sees the first one: once the command has
run, is in a schedule or has settings."""
_OF_RUNS: Final = tuple(one for one in Outcome if one not in (Outcome.IGNORED, Outcome.RETRIED))
"""The same of runs: alerts count all that did not complete."""


def _by_outcome(
    counts_of: Callable[[CommandSeries], Mapping[str, int]], always: tuple[Outcome, ...]
) -> Callable[[Totals], Iterable[Sample]]:
    def read(totals: Totals) -> Iterator[Sample]:
        for series in totals.commands:
            counts = {**dict.fromkeys(map(str, always), 0), **counts_of(series)}
            for outcome in sorted(counts):
                yield (series.command, outcome), counts[outcome]
        for command in totals.known_commands:
            for outcome in always:
                yield (command, outcome), 0

    return read


def _known(
    value_of: Callable[[CommandSeries], float | None],
) -> Callable[[Totals], Iterable[Sample]]:
    """A series for each command whose value is known."""

    def read(totals: Totals) -> Iterator[Sample]:
        for series in totals.commands:
            value = value_of(series)
            if value is not None:
                yield (series.command,), float(value)

    return read


def _run_duration(totals: Totals) -> Iterable[Sample]:
    return (((series.command,), series.run_duration) for series in totals.commands)


def _drain_duration(totals: Totals) -> Iterable[Sample]:
    return (((series.command,), series.drain_duration) for series in totals.commands)


FAMILIES: Final = (
    Family(
        "jobmon_command_runs_total",
        "counter",
        "Command runs ended, by outcome. One taken for lost that turned up counts as lost too.",
        ("command", "outcome"),
        _by_outcome(lambda series: series.runs, _OF_RUNS),
    ),
    Family(
        "jobmon_command_runs_lost_corrected_total",
        "counter",
        "Command runs counted as lost that turned up again.",
        _COMMAND,
        _known(
            lambda series: series.runs_lost_corrected if series.runs.get(Outcome.LOST) else None
        ),
    ),
    Family(
        "jobmon_command_run_duration_seconds",
        "histogram",
        "Time from the start of a command to its own end.",
        _COMMAND,
        _run_duration,
        bounds=COMMAND_BUCKETS,
    ),
    Family(
        "jobmon_command_drain_duration_seconds",
        "histogram",
        "Time from the start of a command to the end of the last job it led to.",
        _COMMAND,
        _drain_duration,
        bounds=COMMAND_BUCKETS,
    ),
    Family(
        "jobmon_command_runs_in_progress",
        "gauge",
        "Command runs open now.",
        _COMMAND,
        _known(lambda series: series.running),
    ),
    Family(
        "jobmon_command_oldest_running_start_timestamp_seconds",
        "gauge",
        "Start of the oldest run that is open; absent while none is.",
        _COMMAND,
        _known(lambda series: series.oldest_running_start),
    ),
    Family(
        "jobmon_command_last_start_timestamp_seconds",
        "gauge",
        "Start of the newest run.",
        _COMMAND,
        _known(lambda series: series.last_start),
    ),
    Family(
        "jobmon_command_last_end_timestamp_seconds",
        "gauge",
        "End of the run that ended last.",
        _COMMAND,
        _known(lambda series: series.last_end),
    ),
    Family(
        "jobmon_command_last_success_timestamp_seconds",
        "gauge",
        "End of the last run that completed.",
        _COMMAND,
        _known(lambda series: series.last_success),
    ),
    Family(
        "jobmon_command_last_duration_seconds",
        "gauge",
        "Duration of the run that ended last.",
        _COMMAND,
        _known(lambda series: series.last_duration),
    ),
    Family(
        "jobmon_command_last_run_failed",
        "gauge",
        "1 if the run that ended last did not complete, otherwise 0.",
        _COMMAND,
        _known(lambda series: series.last_run_failed),
    ),
    Family(
        "jobmon_command_jobs_finished_total",
        "counter",
        "Attempts of a command's jobs that ended, by outcome.",
        ("command", "outcome"),
        _by_outcome(lambda series: series.jobs_finished, _ALWAYS),
    ),
    Family(
        "jobmon_command_jobs_pending",
        "gauge",
        "Jobs of a command's runs that have not ended, waiting or running.",
        _COMMAND,
        _known(lambda series: series.open_jobs),
    ),
    Family(
        "jobmon_command_jobs_lost_corrected_total",
        "counter",
        "Attempts of a command's jobs counted as lost that turned up again.",
        _COMMAND,
        _known(
            lambda series: series.lost_corrected if series.jobs_finished.get(Outcome.LOST) else None
        ),
    ),
)
