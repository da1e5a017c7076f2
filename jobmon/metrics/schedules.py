"""Families of schedulers, and of when their entries are due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.schedules import SchedulerState
from jobmon.store.state import Totals

_SCHEDULER: Final = ("engine", "kind", "scheduler", "hostname")


def _highest(value_of: Callable[[SchedulerState], float]) -> Callable[[Totals], Iterable[Sample]]:
    """One series for schedulers that only their processes tell apart."""

    def read(totals: Totals) -> Iterator[Sample]:
        found: dict[tuple[str, ...], float] = {}
        for one in totals.schedules.schedulers:
            labels = (one.engine, one.kind, one.name, one.hostname)
            found[labels] = max(value_of(one), found.get(labels, 0.0))
        yield from found.items()

    return read


def _info(totals: Totals) -> Iterator[Sample]:
    for labels in {
        (one.name, one.engine, one.kind, one.schedule): None for one in totals.schedules.entries
    }:
        yield labels, 1.0


def _next_expected(totals: Totals) -> Iterator[Sample]:
    found: dict[str, float] = {}
    for one in totals.schedules.entries:
        if one.next_due_at is not None and one.state != "disabled":
            found[one.name] = min(one.next_due_at, found.get(one.name, one.next_due_at))
    for name, moment in found.items():
        yield (name,), moment


FAMILIES: Final = (
    Family(
        "jobmon_scheduler_up",
        "gauge",
        "1 while the scheduler's loop turns, or sleeps as it said it would; 0 for a week after.",
        _SCHEDULER,
        _highest(lambda one: float(one.up)),
    ),
    Family(
        "jobmon_scheduler_last_seen_timestamp_seconds",
        "gauge",
        "When the scheduler's loop last turned, or slept as it said it would.",
        _SCHEDULER,
        _highest(lambda one: one.last_seen_at),
    ),
    Family(
        "jobmon_command_info",
        "gauge",
        "1 for each entry of a schedule: what sends the command, and when.",
        ("command", "engine", "kind", "schedule"),
        _info,
    ),
    Family(
        "jobmon_command_next_expected_timestamp_seconds",
        "gauge",
        "When a scheduler has to send the command next; in the past, it is late or down.",
        ("command",),
        _next_expected,
    ),
)
