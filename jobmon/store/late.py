"""Jobs that run, or wait to run, for longer than they should. Found through the indexes alone."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from jobmon.store import records
from jobmon.store.clock import now_us
from jobmon.store.series import SEPARATOR
from jobmon.store.totals import text

if TYPE_CHECKING:
    from jobmon.settings.schema import Late as Limits
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


def queues(client: Any, keys: Keys, limits: Limits) -> tuple[LateQueue, ...]:
    """Counts of every queue that has series: two counts for each of those.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    for series, pending, processing in _counted(client, keys, limits, now_us(client) // 1000):
        own = counts.setdefault((series.engine, series.queue), [0, 0])
        own[0] += pending
        own[1] += processing
    return tuple(LateQueue(*queue, *own) for queue, own in sorted(counts.items()))


def jobs(client: Any, keys: Keys, limits: Limits, limit: int) -> LateJobs:
    """The ``limit`` oldest, oldest first. Those that have moved on meanwhile are left out.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    now_ms = now_us(client) // 1000
    counted = [one for one in _counted(client, keys, limits, now_ms) if one[1] or one[2]]
    pipeline = client.pipeline(transaction=False)
    asked: list[tuple[str, _Series]] = []
    for series, *_ in counted:
        for state, name, until in _indexes(keys, limits, now_ms, series):
            pipeline.zrangebyscore(name, "-inf", until, start=0, num=limit, withscores=True)
            asked.append((state, series))
    oldest = heapq.nsmallest(
        limit,
        (
            _Entry(score, member, state, series)
            for (state, series), entries in zip(asked, pipeline.execute(), strict=True)
            for member, score in entries
        ),
    )
    found: list[LateJob] = []
    members = [records.named(entry.member) for entry in oldest]
    for entry, record in zip(oldest, records.of(client, keys, members), strict=True):
        job = _job(entry, record, now_ms)
        if job is not None:
            found.append(job)
    return LateJobs(tuple(found), sum(one[1] for one in counted), sum(one[2] for one in counted))


def _counted(
    client: Any, keys: Keys, limits: Limits, now_ms: int
) -> list[tuple[_Series, int, int]]:
    labels: dict[bytes, bytes] = client.hgetall(keys.job_series)
    series: list[_Series] = []
    for names, number in labels.items():
        parts = text(names).split(SEPARATOR)
        if len(parts) == 3:
            series.append(_Series(parts[0], parts[1], parts[2], text(number)))
    pipeline = client.pipeline(transaction=False)
    for one in series:
        for _, name, until in _indexes(keys, limits, now_ms, one):
            pipeline.zcount(name, "-inf", until)
    counts: list[int] = pipeline.execute()
    return list(zip(series, counts[::2], counts[1::2], strict=True))


def _indexes(
    keys: Keys, limits: Limits, now_ms: int, series: _Series
) -> tuple[tuple[str, str, int], tuple[str, str, int]]:
    """Name, key, and highest score of what is late, of both indexes of a series."""
    return (
        ("pending", keys.pending(series.number), now_ms - round(limits.pending_seconds * 1000)),
        (
            "processing",
            keys.processing(series.number),
            now_ms - round(limits.processing_seconds * 1000),
        ),
    )


def _job(entry: _Entry, record: bytes | None, now_ms: int) -> LateJob | None:
    try:
        decoded: object = json.loads(record or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict):
        return None
    data = cast("dict[str, Any]", decoded)
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
