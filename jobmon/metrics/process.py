"""Families of one server process, for ``/metrics/self``: each replica has its own numbers."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.state import Histogram

_COLLECT_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Activity:
    """What this process has done since it started. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, str]] = Counter()
        self._collect_counts = [0] * (len(_COLLECT_BOUNDS) + 1)
        self._collect_seconds = 0.0
        self.redis_up = False
        self.entries_skipped = 0

    def answered(self, method: str, path: str, status: int) -> None:
        """Count one answer; ``path`` is the endpoint's template, or ``unknown``."""
        with self._lock:
            self._answers[method, path, str(status)] += 1

    def collected(self, seconds: float) -> None:
        """Note how long one reading of the store for ``/metrics`` took."""
        with self._lock:
            self._collect_counts[bisect.bisect_left(_COLLECT_BOUNDS, seconds)] += 1
            self._collect_seconds += seconds

    def answers(self) -> Iterable[Sample]:
        """Answers by method, path and status."""
        with self._lock:
            return sorted(self._answers.items())

    def collections(self) -> Histogram:
        """How long readings took."""
        with self._lock:
            return Histogram(tuple(self._collect_counts), self._collect_seconds)


def _answers(activity: Activity) -> Iterable[Sample]:
    return activity.answers()


def _collections(activity: Activity) -> Iterable[Sample]:
    return [((), activity.collections())]


def _redis_up(activity: Activity) -> Iterable[Sample]:
    return [((), float(activity.redis_up))]


def _entries_skipped(activity: Activity) -> Iterable[Sample]:
    return [((), activity.entries_skipped)]


FAMILIES: Final = (
    Family(
        "jobmon_server_requests_total",
        "counter",
        "Requests answered by this process.",
        ("method", "path", "status"),
        _answers,
    ),
    Family(
        "jobmon_server_collect_duration_seconds",
        "histogram",
        "Time this process took to read and print what /metrics shows.",
        (),
        _collections,
        bounds=_COLLECT_BOUNDS,
    ),
    Family(
        "jobmon_server_redis_up",
        "gauge",
        "1 if Redis answered this process within the last seconds, otherwise 0.",
        (),
        _redis_up,
    ),
    Family(
        "jobmon_server_entries_skipped_total",
        "counter",
        "Entries of the store that this process could not understand.",
        (),
        _entries_skipped,
    ),
)
