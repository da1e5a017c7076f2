"""What waiting in a queue is usual: learned from the very number that its alert compares."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from jobmon.analysis.bounds import rounded_up, settled, spread
from jobmon.analysis.runs import Floats
from jobmon.store.bounds import MOST_QUEUES, SAMPLES_KEPT_SECONDS, BoundStore
from jobmon.store.clock import has_passed, now_us
from jobmon.store.reader import Reader
from jobmon.store.series import JOB_BUCKETS
from jobmon.store.totals import number, queue_times

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings
    from jobmon.store.state import JobSeries

EVERY_SECONDS: Final = 300.0
_LONGEST_SECONDS: Final = 2 * EVERY_SECONDS
"""After which a difference is no longer one of five minutes."""
_ENOUGH_JOBS: Final = 20
"""That started meanwhile, so that one in 20 is one."""
_ENOUGH_SAMPLES: Final = 100
_MOST_SAMPLES: Final = int(SAMPLES_KEPT_SECONDS / EVERY_SECONDS)
_OFFSET: Final = 0.1
_LEAST_SECONDS: Final = 1.0
_ODD: Final = 30
"""One sample in so many: half an hour a day may be, an hour each night is usual."""
_COUNTS: Final = struct.Struct(f"<{len(JOB_BUCKETS) + 1}Q")
_SAMPLE: Final = np.dtype([("slot", "<u4"), ("seconds", "<f2")])
"""Half a float: a thousandth is more than a bound of two digits needs."""
_AT: Final = ("at",)
"""Where the moment of the last look is kept, which is no queue."""

Queue = tuple[str, ...]


class Samples(NamedTuple):
    """Of one queue."""

    counts: tuple[int, ...]
    """Of its histogram, at the last look."""
    slots: Floats
    """Five minutes each, since 1970."""
    seconds: Floats
    """95th percentile of the waiting in each."""


class Waits:
    """Learns it, one look after the other; the server that leads looks."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._store = BoundStore(client, settings)
        self._reader = Reader(client, settings)
        self._more = settings.analyze_mode.queue_time_threshold

    def turn(self) -> bool:
        """Look, if the last look was long enough ago, whoever looked; whether it was.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        now = now_us(self._redis) / 1e6
        before = number(self._store.samples([_AT]).get(_AT)) / 1e6
        if not has_passed(EVERY_SECONDS, now, before):
            return False
        counts = histograms(self._reader.totals().jobs)
        bounds = self._store.queues()
        sampled = self._store.sampled()
        known = self._store.samples(sampled & counts.keys())
        is_whole = now - before <= _LONGEST_SECONDS
        kept: dict[Queue, bytes] = {_AT: str(round(now * 1e6)).encode()}
        moved = dict(bounds)
        gone: list[Queue] = list((bounds.keys() | sampled) - counts.keys() - {_AT})
        for queue, own in counts.items():
            samples = after(decoded(known.get(queue)), own, now, is_whole=is_whole)
            if samples is None or (queue not in known and len(known) + len(kept) > MOST_QUEUES):
                continue
            kept[queue] = encoded(samples)
            bound = settled(bounds.get(queue), self._learned(samples), now)
            if bound is not None and len(samples.slots):
                moved[queue] = bound
            elif queue in bounds:
                gone.append(queue)
        changed = {queue: one for queue, one in moved.items() if bounds.get(queue) != one}
        self._store.write_queues(changed, kept, gone)
        return True

    def _learned(self, samples: Samples) -> float | None:
        if len(samples.slots) < _ENOUGH_SAMPLES:
            return None
        _, high = spread(
            *(samples.seconds, self._more, 0.0),
            least=_LEAST_SECONDS,
            offset=_OFFSET,
            odd=_ODD,
        )
        return None if high is None else rounded_up(high)


def histograms(series: Iterable[JobSeries]) -> dict[Queue, tuple[int, ...]]:
    """Counts of the time in each queue, of all its jobs, by engine and queue."""
    # Eager jobs are in none.
    return {queue: one.counts for queue, one in queue_times(series).items() if queue[1]}


def after(
    known: Samples | None, counts: tuple[int, ...], now: float, *, is_whole: bool
) -> Samples | None:
    """What is known of a queue after a look; None: nothing new.

    Args:
        known: Before.
        counts: Of its histogram, now.
        now: Unix seconds.
        is_whole: The look before was five minutes ago.
    """
    if known is None:
        return Samples(counts, np.zeros(0), np.zeros(0))
    slot = now // EVERY_SECONDS
    keep = known.slots > slot - _MOST_SAMPLES
    slots, seconds = known.slots[keep], known.seconds[keep]
    new = [one - other for one, other in zip(counts, known.counts, strict=True)]
    # Less than before: the store was emptied meanwhile.
    if is_whole and min(new) >= 0 and sum(new) >= _ENOUGH_JOBS:
        slots = np.append(slots, slot)
        seconds = np.append(seconds, quantile(0.95, new, JOB_BUCKETS))
    elif counts == known.counts and keep.all():
        return None
    return Samples(counts, slots[-_MOST_SAMPLES:], seconds[-_MOST_SAMPLES:])


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float:
    """As Prometheus' ``histogram_quantile`` has it, of at least one observation.

    Args:
        share: From 0 to 1.
        counts: By bucket, not cumulative; the last has no upper bound.
        bounds: Upper bounds of the others.
    """
    rank = share * sum(counts)
    low = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and rank <= count:
            return low + (bound - low) * rank / count
        rank -= count
        low = bound
    return low


def encoded(samples: Samples) -> bytes:
    """In a few bytes."""
    table = np.zeros(len(samples.slots), dtype=_SAMPLE)
    table["slot"], table["seconds"] = samples.slots, samples.seconds
    return _COUNTS.pack(*samples.counts) + table.tobytes()


def decoded(raw: bytes | None) -> Samples | None:
    """What `encoded` made; None: it is none of that."""
    if raw is None or len(raw) < _COUNTS.size or (len(raw) - _COUNTS.size) % _SAMPLE.itemsize:
        return None
    table = np.frombuffer(raw, dtype=_SAMPLE, offset=_COUNTS.size)
    slots, seconds = table["slot"].astype(np.float64), table["seconds"].astype(np.float64)
    return Samples(_COUNTS.unpack_from(raw), slots, seconds)
