"""Jobs that run, or wait to run, for longer than they should. Found through the indexes alone."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import records, waiting
from jobmon.store.members import decoded
from jobmon.store.series import SEPARATOR
from jobmon.store.totals import text
from jobmon.store.waiting import Waiting, lost_after_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobmon.settings import Settings
    from jobmon.store.keys import Keys

_STATES: Final = {"pending": ("pending", "retrying"), "processing": ("processing",)}
"""Index → statuses of the jobs in it. One that is retried waits for its next attempt."""


@dataclass(frozen=True, slots=True)
class LateJob:
    """One of them."""

    process_id: str
    """Of its run, or of the tree's root job."""
    job_id: str
    command: str
    status: str
    """``processing``, ``pending`` or ``retrying``."""
    engine: str
    queue: str
    job_name: str
    attempt: int
    worker: str | None
    since: float
    """When it started; of one that waits, when it could start. Unix seconds."""
    seconds: float
    """Since then."""


@dataclass(frozen=True, slots=True)
class LateQueue:
    """How many of them a queue has."""

    engine: str
    queue: str
    pending: int
    processing: int


@dataclass(frozen=True, slots=True)
class LateJobs:
    """The oldest of them, and how many there are."""

    jobs: tuple[LateJob, ...]
    pending: int
    processing: int


class _Series(NamedTuple):
    engine: str
    queue: str
    job_name: str
    number: str


class _Entry(NamedTuple):
    since_ms: float
    member: bytes
    state: str
    series: _Series


def queues(series: Mapping[bytes, bytes], counts: Mapping[str, Waiting]) -> tuple[LateQueue, ...]:
    """Counts of every queue that has series.

    Args:
        series: ``series:jobs``.
        counts: By number of the series.
    """
    queues: dict[tuple[str, str], list[int]] = {}
    for one in _series(series):
        found = counts.get(one.number, Waiting())
        own = queues.setdefault((one.engine, one.queue), [0, 0])
        own[0] += found.pending_late
        own[1] += found.processing_late
    return tuple(LateQueue(*queue, *own) for queue, own in sorted(queues.items()))


def jobs(client: Any, keys: Keys, settings: Settings, limit: int) -> LateJobs:
    """The ``limit`` oldest, oldest first. Those that have moved on meanwhile are left out.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    labels: dict[bytes, bytes] = client.hgetall(keys.job_series)
    now_ms, counts = waiting.by_series(client, keys, settings)
    pipeline = client.pipeline(transaction=False)
    asked: list[tuple[str, _Series]] = []
    for series in _series(labels):
        found = counts.get(series.number, Waiting())
        for state, name, *since in _indexes(keys, settings, now_ms, series, found):
            pipeline.zrangebyscore(name, *since, start=0, num=limit, withscores=True)
            asked.append((state, series))
    oldest = heapq.nsmallest(
        limit,
        (
            _Entry(score, member, state, series)
            for (state, series), entries in zip(asked, pipeline.execute(), strict=True)
            for member, score in entries
        ),
    )
    shown: list[LateJob] = []
    members = [records.named(entry.member) for entry in oldest]
    for entry, record in zip(oldest, records.of(client, keys, members), strict=True):
        job = _job(entry, record, now_ms)
        if job is not None:
            shown.append(job)
    return LateJobs(
        tuple(shown),
        sum(one.pending_late for one in counts.values()),
        sum(one.processing_late for one in counts.values()),
    )


def _series(labels: Mapping[bytes, bytes]) -> Iterator[_Series]:
    for names, number in labels.items():
        parts = text(names).split(SEPARATOR)
        if len(parts) == 3:
            yield _Series(parts[0], parts[1], parts[2], text(number))


def _indexes(
    keys: Keys, settings: Settings, now_ms: int, series: _Series, found: Waiting
) -> Iterator[tuple[str, str, int, int]]:
    """State, key, and scores of what is late, of each index of a series that has some."""
    limits, lost = settings.late, now_ms - lost_after_ms(settings)
    if found.pending_late:
        until = now_ms - round(limits.pending_seconds * 1000)
        yield "pending", keys.pending(series.number), lost, until
    if found.processing_late:
        until = now_ms - round(limits.processing_seconds * 1000)
        yield "processing", keys.processing(series.number), lost, until


def _job(entry: _Entry, record: bytes | None, now_ms: int) -> LateJob | None:
    data = decoded(record)
    if data is None:
        return None
    status, attempt = data.get("status"), data.get("attempt")
    if type(status) is not str or type(attempt) is not int or status not in _STATES[entry.state]:
        return None
    process_id, job_id = records.named(entry.member)
    worker = data.get("worker")
    series = entry.series
    return LateJob(
        process_id=process_id,
        job_id=job_id,
        command=str(data.get("command_name", "")),
        status=status,
        engine=series.engine,
        queue=series.queue,
        job_name=series.job_name,
        attempt=attempt,
        worker=worker if isinstance(worker, str) else None,
        since=entry.since_ms / 1000,
        seconds=(now_ms - entry.since_ms) / 1000,
    )
