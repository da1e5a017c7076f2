"""Families of what is normal: bounds that were learned, and the numbers they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.bounds import Bound, Learned
from jobmon.store.state import Totals

_COMMAND: Final = ("command",)
_SAME_SECONDS: Final = 1.0
"""By so little may differ what the history and the store say of one start."""


def expected(totals: Totals) -> dict[str, float]:
    """When each command has to start next, where that was worked out, in Unix seconds.

    It is told of none that runs, nor of one that has started since: whether that start was the
    one awaited is worked out once the run has ended.
    """
    found = {
        command: one.expected_at
        for command, one in totals.judged.learned.items()
        if one.expected_at is not None
    }
    for series in totals.commands:
        one = totals.judged.learned.get(series.command)
        is_later = one is not None and (
            (series.last_start or 0.0) > one.expected_after + _SAME_SECONDS
        )
        if series.running or is_later:
            found.pop(series.command, None)
    return found


def _longest(totals: Totals) -> Iterator[Sample]:
    found = {command: one.longest for command, one in totals.judged.learned.items()}
    # Those are told at once, before anything was learned.
    for command, seconds in sorted((found | totals.maximum_run_times()).items()):
        if seconds is not None:
            yield (command,), seconds


def _maximum(totals: Totals) -> Iterable[Sample]:
    maxima = totals.maximum_run_times()
    return (((command,), seconds) for command, seconds in sorted(maxima.items()))


def _grace(totals: Totals) -> Iterator[Sample]:
    declared = {
        command: own.start_margin_seconds
        for command, own in totals.configured.items()
        if not own.mute
    }
    found = {command: one.grace_seconds for command, one in totals.judged.learned.items()}
    for command in sorted(found | declared):
        seconds = declared.get(command)
        seconds = found.get(command) if seconds is None else seconds
        if seconds is not None:
            yield (command,), seconds


def _known(value_of: Callable[[Learned], float | None]) -> Callable[[Totals], Iterable[Sample]]:
    """One series for each command whose value is known."""

    def read(totals: Totals) -> Iterator[Sample]:
        for command, one in sorted(totals.judged.learned.items()):
            value = value_of(one)
            if value is not None:
                yield (command,), value

    return read


def _bound(bound_of: Callable[[Learned], Bound | None]) -> Callable[[Totals], Iterable[Sample]]:
    def value(one: Learned) -> float | None:
        bound = bound_of(one)
        return None if bound is None else bound.value

    return _known(value)


def _queues(totals: Totals) -> Iterator[Sample]:
    for labels, bound in sorted(totals.judged.queue_bounds.items()):
        yield labels, bound.value


FAMILIES: Final = (
    Family(
        "jobmon_command_duration_upper_bound_seconds",
        "gauge",
        "How long a run may take at most, by those before it or by `maximum_run_time_seconds`.",
        _COMMAND,
        _longest,
    ),
    Family(
        "jobmon_command_maximum_run_time_seconds",
        "gauge",
        "How long a run may take by `maximum_run_time_seconds`, which the upper bound follows.",
        _COMMAND,
        _maximum,
    ),
    Family(
        "jobmon_command_duration_lower_bound_seconds",
        "gauge",
        "How long a run takes at least.",
        _COMMAND,
        _bound(lambda one: one.bounds.duration_lower),
    ),
    Family(
        "jobmon_command_failure_ratio_upper_bound",
        "gauge",
        "Which share of a run's jobs may fail at most, from 0 to 1.",
        _COMMAND,
        _bound(lambda one: one.bounds.failure_ratio_upper),
    ),
    Family(
        "jobmon_command_jobs_lower_bound",
        "gauge",
        "How many jobs a run has at least.",
        _COMMAND,
        _bound(lambda one: one.bounds.jobs_lower),
    ),
    Family(
        "jobmon_command_jobs_upper_bound",
        "gauge",
        "How many jobs a run has at most.",
        _COMMAND,
        _bound(lambda one: one.bounds.jobs_upper),
    ),
    Family(
        "jobmon_baseline_runs",
        "gauge",
        "Runs that a command's bounds rest on, at most 100.",
        _COMMAND,
        _known(lambda one: float(one.runs)),
    ),
    Family(
        "jobmon_baseline_updated_timestamp_seconds",
        "gauge",
        "When a command's runs were last learned from.",
        _COMMAND,
        _known(lambda one: one.learned_at or None),
    ),
    Family(
        "jobmon_command_last_failure_ratio",
        "gauge",
        "Share of the jobs that failed, of the newest run all of whose jobs have ended.",
        _COMMAND,
        _known(lambda one: one.failure_ratio),
    ),
    Family(
        "jobmon_command_last_jobs",
        "gauge",
        "Jobs of the newest run all of whose jobs have ended.",
        _COMMAND,
        _known(lambda one: one.jobs),
    ),
    Family(
        "jobmon_command_grace_seconds",
        "gauge",
        "How late a command may start: `start_margin_seconds`, or what is usual.",
        _COMMAND,
        _grace,
    ),
    Family(
        "jobmon_queue_time_upper_bound_seconds",
        "gauge",
        "Of 20 jobs that start, 19 wait no longer: bound of the 95th percentile over 5 minutes.",
        ("engine", "queue"),
        _queues,
    ),
)
