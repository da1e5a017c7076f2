"""Families of schedulers, and of when their entries are due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics import learned
from jobmon.metrics.family import Family, Sample, cut
from jobmon.settings import PerCommand
from jobmon.store.schedules import SchedulerState
from jobmon.store.state import Totals

_SCHEDULER: Final = ("engine", "kind", "scheduler", "hostname")


def _highest(value_of: Callable[[SchedulerState], float]) -> Callable[[Totals], Iterable[Sample]]:
    """One series for schedulers that only their processes tell apart."""

    def read(totals: Totals) -> Iterator[Sample]:
        found: dict[tuple[str, ...], float] = {}
        for one in totals.schedules.schedulers:
            labels = cut(one.engine, one.kind, one.name, one.hostname)
            found[labels] = max(value_of(one), found.get(labels, 0.0))
        yield from found.items()

    return read


def _entries(totals: Totals) -> Iterator[Sample]:
    found: dict[tuple[str, ...], float] = {}
    for one in totals.schedules.schedulers:
        if one.entries is not None:
            labels = cut(one.engine, one.kind, one.name, one.hostname)
            found[labels] = max(float(one.entries), found.get(labels, 0.0))
    yield from found.items()


def _info(totals: Totals) -> Iterator[Sample]:
    configured = totals.configured
    unset = PerCommand()
    entries = totals.schedules.entries
    told = {cut(one.name, one.engine, one.kind, one.schedule): None for one in entries}
    scheduled = {name for name, *_ in told}
    rest = [cut(name, "", "", own.schedule or "") for name, own in configured.items()]
    for name, *how in (*told, *(labels for labels in rest if labels[0] not in scheduled)):
        yield cut(name, *how, configured.get(name, unset).owner or ""), 1.0


def _next_due(totals: Totals) -> Iterator[Sample]:
    names = {one.id: one.name for one in totals.schedules.schedulers}
    found: dict[tuple[str, ...], float] = {}
    for one in totals.schedules.entries:
        if one.next_due_at is not None and one.state != "disabled":
            labels = cut(one.engine, one.kind, names.get(one.scheduler_id, ""), one.name)
            found[labels] = min(one.next_due_at, found.get(labels, one.next_due_at))
    yield from found.items()


def _next_expected(totals: Totals) -> Iterator[Sample]:
    found: dict[str, float] = {}
    for one in totals.schedules.entries:
        if one.next_due_at is not None and one.state != "disabled":
            (name,) = cut(one.name)
            found[name] = min(one.next_due_at, found.get(name, one.next_due_at))
    # What a scheduler tells goes before what was learned.
    for name, moment in (learned.expected(totals) | found).items():
        if name not in totals.configured or not totals.configured[name].mute:
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
        "jobmon_scheduler_entries",
        "gauge",
        "How many entries the scheduler's schedule has.",
        _SCHEDULER,
        _entries,
    ),
    Family(
        "jobmon_schedule_entry_next_due_timestamp_seconds",
        "gauge",
        "When the scheduler has to send the entry next; in the past, it is late or down. "
        "`scheduler` is empty once that was stopped, until another takes the entry over.",
        ("engine", "kind", "scheduler", "command"),
        _next_due,
    ),
    Family(
        "jobmon_command_info",
        "gauge",
        "1 for each entry of a schedule: what sends the command, when, and whom to tell (`owner` "
        "in `analyze_mode.commands`); and for each command that has settings there, but no entry.",
        ("command", "engine", "kind", "schedule", "owner"),
        _info,
    ),
    Family(
        "jobmon_command_next_expected_timestamp_seconds",
        "gauge",
        "When a scheduler has to send the command next, or it has to start by its declared or "
        "learned schedule; in the past, it is late.",
        ("command",),
        _next_expected,
    ),
)
