"""Decodes the aggregates: series, counters and histograms as the script wrote them."""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from jobmon.store import series as limits
from jobmon.store.series import COMMAND_BUCKETS, JOB_BUCKETS, OTHER, SEPARATOR, label
from jobmon.store.state import Attempts, CommandSeries, Exemplar, Histogram, JobSeries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_PLACES: Final = tuple(map(str, range(100)))
_EXEMPLAR: Final = re.compile(rb"(\d{1,16}) (\d{1,16}) ([0-9a-f]{32}) ([0-9a-f]{16})")
_LARGEST: Final = 2**63 - 1
"""That Redis counts to."""


def number(value: object) -> int:
    """An integer from Redis, 0 if it is none."""
    try:
        found = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return 0
    return found if abs(found) <= _LARGEST else 0


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

    def histogram(
        self,
        name: str,
        bounds: tuple[float, ...],
        exemplars: Mapping[str, Exemplar] = MappingProxyType({}),
    ) -> Histogram:
        """A histogram over the given bounds and one bucket beyond, with exemplars by bucket."""
        family = self.family(name)
        places = _PLACES[: len(bounds) + 1]
        counts = tuple([family.get(place, 0) for place in places])
        marked = {int(place): exemplars[place] for place in places if place in exemplars}
        return Histogram(counts, family.get("sum_us", 0) / 1_000_000, marked)


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


def exemplars_by_family(
    raw: Mapping[bytes, bytes],
) -> dict[tuple[str, str], dict[str, Exemplar]]:
    """What can be understood of ``exemplars``: by series and family, then by member."""
    found: dict[tuple[str, str], dict[str, Exemplar]] = {}
    for place, value in raw.items():
        match = _EXEMPLAR.fullmatch(value)
        if match is not None:
            ended_ms, took_us, trace_id, span_id = match.groups()
            series, _, name = text(place).partition(":")
            family, _, member = name.partition(":")
            found.setdefault((series, family), {})[member] = Exemplar(
                *(trace_id.decode(), span_id.decode()), int(took_us) / 1e6, int(ended_ms) / 1000
            )
    return found


def job_series(
    series: Mapping[bytes, bytes],
    totals: Mapping[bytes, bytes],
    exemplars: Mapping[bytes, bytes],
    sizes: Mapping[str, tuple[int, ...]],
) -> list[JobSeries]:
    """Every job series, in the order of its labels.

    Args:
        series: ``series:jobs``.
        totals: ``totals:jobs``.
        exemplars: ``exemplars``.
        sizes: By series number, how many jobs wait and how many run, first.
    """
    fields_of = by_series(totals)
    exemplars_of = exemplars_by_family(exemplars)
    found: list[JobSeries] = []
    for labels, raw_number in series.items():
        parts = text(labels).split(SEPARATOR)
        if len(parts) != 3:
            continue
        own = text(raw_number)
        fields = fields_of.get(own, Fields())
        forgotten = fields_of.get(f"{own}/queue")
        pending, processing, *_ = sizes.get(own, (0, 0))
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
                duration=fields.histogram(
                    "duration", JOB_BUCKETS, exemplars_of.get((own, "duration"), {})
                ),
                queue_time=fields.histogram("queue_time", JOB_BUCKETS),
                forgotten=None if forgotten is None else _attempts(forgotten),
                pending=pending,
                processing=processing,
                finished_exemplars=exemplars_of.get((own, "finished"), {}),
            )
        )
    return sorted(found, key=lambda one: (one.engine, one.queue, one.job_name))


def _attempts(fields: Fields) -> Attempts:
    return Attempts(
        fields.family("finished"),
        fields.histogram("duration", JOB_BUCKETS),
        fields.histogram("queue_time", JOB_BUCKETS),
    )


def known_jobs(told: Iterable[bytes], series: Mapping[bytes, bytes]) -> list[tuple[str, str, str]]:
    """Labels of jobs that have no series, as far as there are places for them.

    Args:
        told: ``jobs:known``.
        series: ``series:jobs``.
    """
    of_series = [text(labels).split(SEPARATOR) for labels in series]
    places = [
        ({parts[at] for parts in of_series if len(parts) == 3} - {OTHER}, most)
        for at, most in ((1, limits.MOST_QUEUES), (2, limits.MOST_JOB_NAMES))
    ]
    found: list[tuple[str, str, str]] = []
    for labels in sorted(told):
        if len(series) + len(found) >= limits.MOST_JOB_SERIES:
            break
        parts = text(labels).split(SEPARATOR)
        if len(parts) != 3 or labels in series:
            continue
        both = tuple(zip(parts[1:], places, strict=True))
        if all(value in taken or len(taken) < most for value, (taken, most) in both):
            found.append((parts[0], parts[1], parts[2]))
            for value, (taken, _) in both:
                taken.add(value)
    return found


def known_commands(names: Iterable[str], series: Mapping[bytes, bytes]) -> list[str]:
    """Commands that have no series, as far as there are places for them.

    Args:
        names: All that are known from elsewhere.
        series: ``series:commands``.
    """
    fresh = {label(name) for name in names} - set(series)
    return [text(name) for name in sorted(fresh)[: max(0, limits.MOST_COMMANDS - len(series))]]


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


def summed(numbers: Iterable[float]) -> float:
    """The sum of counts, or of seconds to the µs: the same however they are grouped."""
    return round(sum(numbers), 6)


def queue_times(series: Iterable[JobSeries]) -> dict[tuple[str, str], Histogram]:
    """The time in each queue, of all its jobs, by engine and queue."""
    found: dict[tuple[str, str], list[Histogram]] = {}
    for one in series:
        own = found.setdefault((one.engine, one.queue), [])
        own += (attempts.queue_time for attempts in one.of_queue)
    return {
        queue: Histogram(
            tuple(map(sum, zip(*(one.counts for one in own), strict=True))),
            summed(one.sum for one in own),
        )
        for queue, own in found.items()
    }


def _seconds(value: int | None, per_second: int) -> float | None:
    return None if value is None else value / per_second
