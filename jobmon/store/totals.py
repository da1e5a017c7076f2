"""Decodes the aggregates: series, counters and histograms as the script wrote them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jobmon.store.series import COMMAND_BUCKETS, JOB_BUCKETS, OTHER, SEPARATOR
from jobmon.store.state import CommandSeries, Histogram, JobSeries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def number(value: object) -> int:
    """An integer from Redis, 0 if it is none."""
    try:
        return int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return 0


def text(value: object) -> str:
    """Text from Redis."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Fields:
    """Counters of one series by name; those of a family by what follows its name."""

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.families: dict[str, dict[str, int]] = {}

    def count(self, name: str) -> int:
        """One counter."""
        return self.own.get(name, 0)

    def family(self, name: str) -> dict[str, int]:
        """Counters of a family."""
        return self.families.get(name, {})

    def histogram(self, name: str, bounds: tuple[float, ...]) -> Histogram:
        """A histogram over the given bounds and one bucket beyond."""
        family = self.family(name)
        counts = tuple(family.get(str(place), 0) for place in range(len(bounds) + 1))
        return Histogram(counts, family.get("sum_us", 0) / 1_000_000)


def by_series(raw: Mapping[bytes, bytes]) -> dict[str, Fields]:
    """Fields of a totals hash by their series."""
    found: dict[str, Fields] = {}
    for field, value in raw.items():
        series, _, name = text(field).partition(":")
        family, _, member = name.partition(":")
        fields = found.setdefault(series, Fields())
        if member:
            fields.families.setdefault(family, {})[member] = number(value)
        else:
            fields.own[family] = number(value)
    return found


def job_series(
    series: Mapping[bytes, bytes],
    totals: Mapping[bytes, bytes],
    sizes: Mapping[str, tuple[int, int]],
) -> list[JobSeries]:
    """Every job series, in the order of its labels.

    Args:
        series: ``series:jobs``.
        totals: ``totals:jobs``.
        sizes: By series number, how many jobs wait and how many run.
    """
    fields_of = by_series(totals)
    found: list[JobSeries] = []
    for labels, raw_number in series.items():
        parts = text(labels).split(SEPARATOR)
        if len(parts) != 3:
            continue
        own = text(raw_number)
        fields = fields_of.get(own, Fields())
        pending, processing = sizes.get(own, (0, 0))
        found.append(
            JobSeries(
                engine=parts[0],
                queue=parts[1],
                job_name=parts[2],
                enqueued=fields.count("enqueued"),
                started=fields.count("started"),
                finished=fields.family("finished"),
                lost_corrected=fields.count("lost_corrected"),
                errors=fields.family("errors"),
                duration=fields.histogram("duration", JOB_BUCKETS),
                queue_time=fields.histogram("queue_time", JOB_BUCKETS),
                pending=pending,
                processing=processing,
            )
        )
    return sorted(found, key=lambda one: (one.engine, one.queue, one.job_name))


def command_series(
    series: Mapping[bytes, bytes],
    totals: Mapping[bytes, bytes],
    running: Iterable[bytes],
    open_jobs: Mapping[str, int],
) -> list[CommandSeries]:
    """Every command's series, in the order of their names.

    Args:
        series: ``series:commands``.
        totals: ``totals:commands``.
        running: The values of ``commands:running``.
        open_jobs: By command, how many jobs have not ended.
    """
    fields_of = by_series(totals)
    numbers = {text(name): text(raw) for name, raw in series.items()}
    open_runs: dict[str, list[float]] = {}
    for raw in running:
        try:
            run: Any = json.loads(raw)
            command, started = str(run["command"]), float(run.get("started_at", 0))
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            continue
        open_runs.setdefault(command if command in numbers else OTHER, []).append(started)
    unended: dict[str, int] = {}
    for command, count in open_jobs.items():
        label = command if command in numbers else OTHER
        unended[label] = unended.get(label, 0) + count
    found: list[CommandSeries] = []
    for command, own in sorted(numbers.items()):
        fields = fields_of.get(own, Fields())
        starts = open_runs.get(command, [])
        failed = fields.own.get("last_run_failed")
        found.append(
            CommandSeries(
                command=command,
                runs=fields.family("runs"),
                runs_lost_corrected=fields.count("runs_lost_corrected"),
                jobs_finished=fields.family("jobs_finished"),
                lost_corrected=fields.count("lost_corrected"),
                run_duration=fields.histogram("run_duration", COMMAND_BUCKETS),
                drain_duration=fields.histogram("drain_duration", COMMAND_BUCKETS),
                last_start=_seconds(fields.own.get("last_start"), 1000),
                last_end=_seconds(fields.own.get("last_end"), 1000),
                last_success=_seconds(fields.own.get("last_success"), 1000),
                last_duration=_seconds(fields.own.get("last_duration_us"), 1_000_000),
                last_run_failed=None if failed is None else failed != 0,
                running=len(starts),
                oldest_running_start=min((at for at in starts if at > 0), default=None),
                open_jobs=unended.get(command, 0),
            )
        )
    return found


def _seconds(value: int | None, per_second: int) -> float | None:
    return None if value is None else value / per_second
