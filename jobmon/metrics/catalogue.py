"""All families in one place: collectors for exposition, and the reference page made from them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
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
from jobmon.metrics.exposition import printed
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
_UNITS: Final = ("seconds", "bytes", "ratio")


class StoreCollector(Collector):
    """Yields the families of ``/metrics`` from one reading of the store, never from a cache.

    Two servers that answer from caches of different ages would make counters run backwards.
    """

    def __init__(
        self,
        reader: Reader,
        families: Iterable[Family[Totals]],
        constant: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._reader = reader
        self._families = tuple(families)
        self._constant = constant

    def collect(self) -> Iterator[Metric]:
        """Read the store once and yield every family.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        totals = self._reader.totals()
        for family in self._families:
            yield family.metric(totals, self._constant)

    def page(self, *, openmetrics: bool) -> bytes:
        """The same, printed.

        Raises:
            redis.RedisError: The store cannot be read.
        """
        totals = self._reader.totals()
        return printed(self._families, totals, self._constant, openmetrics=openmetrics)


class _ActivityCollector(Collector):
    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def collect(self) -> Iterator[Metric]:
        for family in process.FAMILIES:
            yield family.metric(self._activity)


def shared(reader: Reader, app: str) -> StoreCollector:
    """What ``/metrics`` prints."""
    families = itertools.chain.from_iterable(GROUPS.values())
    return StoreCollector(reader, families, (("app", app),))


def process_registry(activity: Activity) -> CollectorRegistry:
    """What ``/metrics/self`` prints: this process, its interpreter, and its answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ActivityCollector(activity))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def described() -> list[dict[str, object]]:
    """Every family as plain values, for programs that check queries."""
    return [
        {
            "name": family.name,
            "type": family.type,
            "labels": [*(("app",) if shared else ()), *family.labels],
            "unit": _unit(family.name),
            "buckets": list(family.bounds),
            "help": family.help,
            "path": "/metrics" if shared else "/metrics/self",
        }
        for shared, families in (
            *((True, families) for families in GROUPS.values()),
            (False, process.FAMILIES),
        )
        for family in families
    ]


def _unit(name: str) -> str:
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in _UNITS else ""


def reference() -> str:
    """The documentation's page of metrics, as Markdown."""
    lines = [
        "# Metrics",
        "",
        "`/metrics` answers what all servers share, read from Redis at each scrape: text or",
        "OpenMetrics, as asked for. While Redis cannot be reached it answers 503. Every series has",
        "the label `app` (setting `app`) before those named here; none is called `job` or",
        "`instance`. [catalogue.json](../../exporters/catalogue.json) has the same for programs.",
        "",
        "Job names, queues, commands and error types have a limited number of values, and jobs a",
        "limited number of series (engine, queue and job name): what comes when all places are",
        "taken is filed under `other`. A series that has counted nothing for",
        "`metrics.series_retention_days` is removed, unless jobs of it wait, run or failed, or its",
        "command runs or is in a schedule. That frees the places of its labels; if it comes back,",
        "it begins at 0. What it counted stays in sums by queue or by job name, while other series",
        "of that queue or name do.",
        "",
        "Shown from 0 on, so that `increase()` sees the first: jobs that a Celery worker knows, by",
        "their names and the queues that they are sent to by themselves (500 of a worker, 1,000 in",
        "all), and commands that are in a schedule or in `analyze_mode.commands`. They take no",
        "place before they run. A function or class in `task_routes` is not asked: what it may",
        "send anywhere is shown once it runs. RQ's workers do not know their jobs beforehand.",
        "",
        "As OpenMetrics, `jobmon_jobs_finished_total` and the buckets of",
        "`jobmon_job_duration_seconds` show the trace of one job each: the newest whose span was",
        "sampled, at most one every 10 s. Prometheus keeps them with",
        "`--enable-feature=exemplar-storage`.",
        "",
        "`/metrics/self` answers what one server process knows of itself, besides the usual",
        "`process_*` and `python_*`. With `metrics.compat = true`, pages below `/metrics/compat`",
        "print the names of [celery-exporter](../../exporters/celery-exporter/README.md) and of",
        "[rq-exporter](../../exporters/rq-exporter/README.md).",
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
