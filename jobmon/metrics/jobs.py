"""Families of jobs: how many were enqueued, started and ended, how long they waited and ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from jobmon.metrics.family import Family, Marked, Sample
from jobmon.model import Outcome
from jobmon.store.series import JOB_BUCKETS
from jobmon.store.state import JobSeries, Totals
from jobmon.store.totals import queue_times

_SERIES: Final = ("engine", "queue", "job_name")
_ALWAYS: Final = (Outcome.COMPLETED, Outcome.FAILED)
"""Outcomes shown from 0 on, so that ``increase()`` sees the first: once a job was enqueued, or is
known to a worker."""


def _labels(series: JobSeries) -> tuple[str, str, str]:
    return series.engine, series.queue, series.job_name


def _enqueued(totals: Totals) -> Iterator[Sample]:
    for series in totals.jobs:
        yield _labels(series), series.enqueued
    for labels in totals.known_jobs:
        yield labels, 0


def _started(totals: Totals) -> Iterator[Sample]:
    for series in totals.jobs:
        yield _labels(series), series.started
    for labels in totals.known_jobs:
        yield labels, 0


def _finished(totals: Totals) -> Iterator[Sample]:
    for series in totals.jobs:
        counts = dict.fromkeys(map(str, _ALWAYS), 0) | dict(series.finished)
        for outcome in sorted(counts):
            exemplar = series.finished_exemplars.get(outcome)
            count = counts[outcome]
            yield (*_labels(series), outcome), Marked(count, exemplar) if exemplar else count
    for labels in totals.known_jobs:
        for outcome in _ALWAYS:
            yield (*labels, outcome), 0


def _lost_corrected(totals: Totals) -> Iterator[Sample]:
    for series in totals.jobs:
        if series.finished.get(Outcome.LOST):
            yield _labels(series), series.lost_corrected


def _errors(totals: Totals) -> Iterable[Sample]:
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for series in totals.jobs:
        for error_type, count in series.errors.items():
            counts[series.job_name, error_type] += count
    return sorted(counts.items())


def _duration(totals: Totals) -> Iterable[Sample]:
    return ((_labels(series), series.duration) for series in totals.jobs)


def _queue_time(totals: Totals) -> Iterable[Sample]:
    return sorted(queue_times(totals.jobs).items())


def _pending(totals: Totals) -> Iterable[Sample]:
    return ((_labels(series), series.pending) for series in totals.jobs)


def _in_progress(totals: Totals) -> Iterable[Sample]:
    return ((_labels(series), series.processing) for series in totals.jobs)


def _pending_late(totals: Totals) -> Iterable[Sample]:
    return (((one.engine, one.queue), one.pending) for one in totals.late)


def _in_progress_late(totals: Totals) -> Iterable[Sample]:
    return (((one.engine, one.queue), one.processing) for one in totals.late)


FAMILIES: Final = (
    Family("jobmon_jobs_enqueued_total", "counter", "Job attempts published.", _SERIES, _enqueued),
    Family("jobmon_jobs_started_total", "counter", "Job attempts started.", _SERIES, _started),
    Family(
        "jobmon_jobs_finished_total",
        "counter",
        "Job attempts ended, by outcome. One taken for lost that turned up counts as lost too.",
        (*_SERIES, "outcome"),
        _finished,
    ),
    Family(
        "jobmon_jobs_lost_corrected_total",
        "counter",
        "Job attempts counted as lost that turned up again.",
        _SERIES,
        _lost_corrected,
    ),
    Family(
        "jobmon_job_errors_total",
        "counter",
        "Errors that ended a job attempt, by class.",
        ("job_name", "error_type"),
        _errors,
    ),
    Family(
        "jobmon_job_duration_seconds",
        "histogram",
        "Run time of job attempts that ran to an end.",
        _SERIES,
        _duration,
        bounds=JOB_BUCKETS,
    ),
    Family(
        "jobmon_job_queue_time_seconds",
        "histogram",
        "Time from when a job attempt could start to when it did.",
        ("engine", "queue"),
        _queue_time,
        bounds=JOB_BUCKETS,
    ),
    Family("jobmon_jobs_pending", "gauge", "Jobs that wait to run.", _SERIES, _pending),
    Family("jobmon_jobs_in_progress", "gauge", "Jobs that run now.", _SERIES, _in_progress),
    Family(
        "jobmon_jobs_pending_late",
        "gauge",
        "Jobs that could have started longer than `late.pending_seconds` ago.",
        ("engine", "queue"),
        _pending_late,
    ),
    Family(
        "jobmon_jobs_in_progress_late",
        "gauge",
        "Jobs that have run for longer than `late.processing_seconds`.",
        ("engine", "queue"),
        _in_progress_late,
    ),
)
