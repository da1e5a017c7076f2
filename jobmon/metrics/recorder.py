"""Families of jobmon itself as far as all servers share it: what was recorded and what was not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.state import Totals


def _transitions(totals: Totals) -> Iterable[Sample]:
    return [((), totals.transitions)]


def _dropped(totals: Totals) -> Iterable[Sample]:
    # Shown from 0 on, so that `increase()` sees the first one.
    counts = {"overflow": 0} | dict(totals.dropped)
    return (((reason,), count) for reason, count in sorted(counts.items()))


def _lag(totals: Totals) -> Iterator[Sample]:
    if totals.lag is not None:
        yield (), totals.lag


def _overflow(totals: Totals) -> Iterable[Sample]:
    return (((label,), count) for label, count in sorted(totals.label_overflow.items()))


def _values(totals: Totals) -> Iterable[Sample]:
    return (((label,), count) for label, count in sorted(totals.label_values.items()))


def _build(_totals: Totals) -> Iterable[Sample]:
    try:
        own = version("jobmon")
    except PackageNotFoundError:  # run from a checkout that is on PYTHONPATH
        own = "unknown"
    return [((own,), 1)]


FAMILIES: Final = (
    Family("jobmon_build_info", "gauge", "1, with the server's version.", ("version",), _build),
    Family(
        "jobmon_transitions_total",
        "counter",
        "Changes of status that reached the store.",
        (),
        _transitions,
    ),
    Family(
        "jobmon_transitions_dropped_total",
        "counter",
        "Changes of status that were lost, by reason; message: only what would run it again.",
        ("reason",),
        _dropped,
    ),
    Family(
        "jobmon_transitions_lag_seconds",
        "gauge",
        "Time from the oldest change of the newest batch to its arrival in the store.",
        (),
        _lag,
    ),
    Family(
        "jobmon_label_overflow_total",
        "counter",
        "Events filed under the value other because their label had too many values; series: under "
        "the job_name other, because jobs had too many series; worker, scheduler, schedule (an "
        "entry): beats refused because there are too many.",
        ("label",),
        _overflow,
    ),
    Family(
        "jobmon_label_values",
        "gauge",
        "Values that a label has; series: sets of engine, queue and job_name that jobs have; "
        "worker, scheduler, schedule: how many are known.",
        ("label",),
        _values,
    ),
)
