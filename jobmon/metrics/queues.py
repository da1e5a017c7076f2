"""Families of queues: how many jobs they hold by state, since when, and who serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample, cut
from jobmon.metrics.workers import is_up
from jobmon.store.queues import ENGINES
from jobmon.store.series import OTHER
from jobmon.store.state import Totals
from jobmon.store.workers import WorkerState

MOST_QUEUES: Final = 500
"""Queues whose workers have series of their own; those of the others share one."""
_QUEUE: Final = ("engine", "queue")


def _jobs(totals: Totals) -> Iterator[Sample]:
    for one in totals.queues.depths:
        for state, count in one.jobs.items():
            yield (one.engine, one.queue, state), float(count)


def _oldest(totals: Totals) -> Iterator[Sample]:
    for one in totals.queues.depths:
        if one.oldest_at is not None:
            yield (one.engine, one.queue), one.oldest_at


def _polled(totals: Totals) -> Iterator[Sample]:
    for engine, at in totals.queues.polled_at.items():
        yield (engine,), at


def _errors(totals: Totals) -> Iterator[Sample]:
    # Shown from 0 on, so that `increase()` sees the first one.
    for engine in ENGINES:
        yield (engine,), float(totals.queue_errors.get(engine, 0))


def _of_workers(value_of: Callable[[WorkerState], float]) -> Callable[[Totals], Iterable[Sample]]:
    def read(totals: Totals) -> Iterator[Sample]:
        found: dict[tuple[str, ...], float] = {}
        named = {(one.engine, one.queue) for one in totals.queues.depths}
        for one in filter(is_up, totals.workers):
            for queue in dict.fromkeys(one.queues):
                labels = cut(one.engine, queue)
                # Under the name that its jobs are under, so that both can be compared.
                is_folded = labels not in named and (one.engine, OTHER) in named
                if is_folded or (labels not in found and len(found) >= MOST_QUEUES):
                    labels = cut(one.engine, OTHER)
                found[labels] = found.get(labels, 0.0) + value_of(one)
        yield from found.items()

    return read


FAMILIES: Final = (
    Family(
        "jobmon_queue_jobs",
        "gauge",
        "Jobs in the queue as its broker counts them, by state: `waiting` for a worker; "
        "`scheduled` for a time; `deferred` until others are done; `reserved` by a worker, which "
        "may run them; `failed`, as RQ keeps them. What the broker does not tell is left out.",
        ("engine", "queue", "state"),
        _jobs,
    ),
    Family(
        "jobmon_queue_oldest_job_timestamp_seconds",
        "gauge",
        "When the job could start that has waited for longest; none while the queue is empty.",
        _QUEUE,
        _oldest,
    ),
    Family(
        "jobmon_queue_polled_timestamp_seconds",
        "gauge",
        "When the engine's broker was last read well. What it told is shown no longer once it is "
        "three times `queues_poll_seconds` old; this, for a week.",
        ("engine",),
        _polled,
    ),
    Family(
        "jobmon_queue_poll_errors_total",
        "counter",
        "How often the engine's broker could not be read.",
        ("engine",),
        _errors,
    ),
    Family(
        "jobmon_queue_workers",
        "gauge",
        "Workers that serve the queue.",
        _QUEUE,
        _of_workers(lambda _: 1.0),
    ),
    Family(
        "jobmon_queue_slots",
        "gauge",
        "How many jobs the queue's workers can run at a time, of this queue or of another.",
        _QUEUE,
        _of_workers(lambda one: float(one.slots)),
    ),
)
