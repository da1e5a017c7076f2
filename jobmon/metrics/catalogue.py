"""All families in one place: collectors for exposition, and the reference page made from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from jobmon.metrics import (
    anomalies,
    commands,
    deliveries,
    jobs,
    learned,
    process,
    queues,
    recorder,
    schedules,
    sync,
    workers,
)
from jobmon.metrics.family import Family
from jobmon.metrics.process import Activity
from jobmon.store.reader import Reader
from jobmon.store.state import Totals

GROUPS: Final[dict[str, tuple[Family[Totals], ...]]] = {
    "Jobs": jobs.FAMILIES,
    "Commands": commands.FAMILIES,
    "Schedules": schedules.FAMILIES,
    "Queues": queues.FAMILIES,
    "Workers": workers.FAMILIES,
    "What is normal": learned.FAMILIES,
    "Anomalies": anomalies.FAMILIES,
    "Deliveries": deliveries.FAMILIES,
    "History": sync.FAMILIES,
    "jobmon itself": recorder.FAMILIES,
}
"""Families of ``/metrics``; each has the label ``app`` before its own."""


_PROCESS_GROUP: Final = "One server process"


class StoreCollector(Collector):
    """Yields the families of ``/metrics`` from one reading of the store, never from a cache.

    Two servers that answer from caches of different ages would make counters run backwards.
    """

    def __init__(self, reader: Reader, app: str) -> None:
        self._reader = reader
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """Read the store once and yield every family.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        totals = self._reader.totals()
        for families in GROUPS.values():
            for family in families:
                yield family.metric(totals, (("app", self._app),))


class _ActivityCollector(Collector):
    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def collect(self) -> Iterator[Metric]:
        for family in process.FAMILIES:
            yield family.metric(self._activity)


def store_registry(reader: Reader, app: str) -> CollectorRegistry:
    """What ``/metrics`` prints. Registering reads nothing."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(reader, app))
    return registry


def process_registry(activity: Activity) -> CollectorRegistry:
    """What ``/metrics/self`` prints: this process, its interpreter, and its answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ActivityCollector(activity))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def reference() -> str:
    """The documentation's page of metrics, as Markdown."""
    lines = [
        "# Metrics",
        "",
        "`/metrics` answers what all servers share, read from Redis at each scrape: text or",
        "OpenMetrics, as asked for. While Redis cannot be reached it answers 503. Every series has",
        "the label `app` (setting `app`) before those named here; none is called `job` or",
        "`instance`. Job names, queues, commands and error types have a limited number of values;",
        "what comes when all places are taken is filed under `other`, for good.",
        "",
        "`/metrics/self` answers what one server process knows of itself, besides the usual",
        "`process_*` and `python_*`.",
        "",
    ]
    for title, families in (*GROUPS.items(), (_PROCESS_GROUP, process.FAMILIES)):
        where = "/metrics/self" if title == _PROCESS_GROUP else "/metrics"
        lines += [f"## {title}", "", f"At `{where}`.", ""]
        lines += ["| family | type | labels | meaning |", "|---|---|---|---|"]
        for family in families:
            labels = ", ".join(f"`{name}`" for name in family.labels) or "–"
            buckets = ", ".join(f"{bound:g}" for bound in family.bounds)
            meaning = f"{family.help} Buckets: {buckets} s." if buckets else family.help
            lines.append(f"| `{family.name}` | {family.type} | {labels} | {meaning} |")
        lines.append("")
    return "\n".join(lines)
