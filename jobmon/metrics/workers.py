"""Families of workers: which live, how many jobs they can run at a time, and how many they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample, cut
from jobmon.store.queues import ENGINES
from jobmon.store.state import Totals
from jobmon.store.workers import WorkerState

_WORKER: Final = ("engine", "worker")


def _of_each(
    value_of: Callable[[WorkerState], float],
    fold: Callable[[float, float], float],
    *,
    is_shown: Callable[[WorkerState], bool] = lambda _: True,
) -> Callable[[Totals], Iterable[Sample]]:
    """One series for workers of the same name, who are told apart by their processes alone."""

    def read(totals: Totals) -> Iterator[Sample]:
        found: dict[tuple[str, ...], float] = {}
        for one in filter(is_shown, totals.workers):
            labels = cut(one.engine, one.name)
            value = value_of(one)
            found[labels] = fold(found[labels], value) if labels in found else value
        yield from found.items()

    return read


def _add(one: float, other: float) -> float:
    return one + other


def is_up(one: WorkerState) -> bool:
    """Whether it was not taken for lost."""
    return one.state != "down"


def _info(totals: Totals) -> Iterator[Sample]:
    for labels in {
        cut(one.engine, one.name, one.hostname, one.version, ",".join(one.queues)): None
        for one in totals.workers
    }:
        yield labels, 1.0


def _lost(totals: Totals) -> Iterator[Sample]:
    # Shown from 0 on, so that `increase()` sees the first one.
    counts = dict.fromkeys(ENGINES, 0) | dict(totals.workers_lost)
    for engine, count in sorted(counts.items()):
        yield (engine,), count


FAMILIES: Final = (
    Family(
        "jobmon_worker_up",
        "gauge",
        "1 for a worker that lives, 0 for 10 minutes after it was taken for lost.",
        _WORKER,
        _of_each(lambda one: float(is_up(one)), max),
    ),
    Family(
        "jobmon_worker_last_heartbeat_timestamp_seconds",
        "gauge",
        "When the worker last said that it lives, by the clock of Redis.",
        _WORKER,
        _of_each(lambda one: one.last_seen_at, max),
    ),
    Family(
        "jobmon_worker_slots",
        "gauge",
        "How many jobs the worker can run at a time.",
        _WORKER,
        _of_each(lambda one: float(one.slots), _add, is_shown=is_up),
    ),
    Family(
        "jobmon_worker_slots_busy",
        "gauge",
        "How many jobs the worker runs.",
        _WORKER,
        _of_each(lambda one: float(one.busy), _add, is_shown=is_up),
    ),
    Family(
        "jobmon_worker_resident_memory_bytes",
        "gauge",
        "Memory that the worker's main process holds, without its children's.",
        _WORKER,
        _of_each(
            lambda one: float(one.resident_memory_bytes),
            _add,
            is_shown=lambda one: is_up(one) and one.resident_memory_bytes > 0,
        ),
    ),
    Family(
        "jobmon_worker_info",
        "gauge",
        "1 for each worker: its host, its engine's version, and the queues it serves.",
        ("engine", "worker", "hostname", "version", "queues"),
        _info,
    ),
    Family(
        "jobmon_workers_lost_total",
        "counter",
        "Workers that fell silent and were taken for lost.",
        ("engine",),
        _lost,
    ),
)
