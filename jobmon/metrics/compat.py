"""Names that other exporters use, printed from the same numbers: for dashboards that know those.

``exporters/<exporter>/mapping.json`` is made of what stands here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from jobmon.metrics.family import Family, Sample, cut
from jobmon.model import Outcome
from jobmon.store.series import JOB_BUCKETS
from jobmon.store.state import Attempts, Histogram, JobSeries, Totals
from jobmon.store.totals import summed
from jobmon.store.workers import WorkerState

GENERIC: Final = "generic"
"""Host, or worker, of what is counted for all of them."""
_FAILED: Final = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST)
_RQ_STATUS: Final = {"waiting": "queued", "reserved": "started"}
"""What RQ calls a state of a queue's jobs; the others have the same name."""
_TASK: Final = ("name", "hostname", "queue_name")


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A family of another exporter's, and where jobmon has the same."""

    family: Family[Totals]
    query: str
    """What a query asks of jobmon instead."""
    difference: str = ""
    """Where the numbers are not the same."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A family of another exporter's that is not printed."""

    name: str
    why: str
    query: str = ""
    """The nearest that jobmon has."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """One whose names are printed."""

    note: str
    """What is true of many of its families."""
    counterparts: tuple[Counterpart, ...]
    missing: tuple[Missing, ...]

    @property
    def families(self) -> tuple[Family[Totals], ...]:
        """What its page shows."""
        return tuple(one.family for one in self.counterparts)

    def mapping(self) -> dict[str, object]:
        """All of it as plain values."""
        families: list[dict[str, object]] = [
            {
                "name": one.family.name,
                "type": one.family.type,
                "labels": list(one.family.labels),
                "query": one.query,
                "difference": one.difference,
            }
            for one in self.counterparts
        ]
        missing: list[dict[str, object]] = [
            {"name": one.name, "why": one.why, "query": one.query} for one in self.missing
        ]
        return {"note": self.note, "families": families, "missing": missing}


def table(name: str) -> str:
    """The mapping of one exporter as Markdown."""
    exporter = EXPORTERS[name]

    def cell(text: str) -> str:
        return text.replace("|", "\\|")

    def code(text: str) -> str:
        return f"`{cell(text)}`" if text else "–"

    lines = [
        f"# {name}: the same in jobmon",
        "",
        exporter.note,
        "",
        f"| {name} | type | labels | a query of jobmon's | difference |",
        "|---|---|---|---|---|",
    ]
    for one in exporter.counterparts:
        labels = ", ".join(map(code, one.family.labels))
        cells = (code(one.family.name), one.family.type, labels, code(one.query))
        lines.append(f"| {' | '.join(cells)} | {cell(one.difference)} |")
    lines += ["", "Not printed:", "", f"| {name} | why | nearest |", "|---|---|---|"]
    lines += [
        f"| {code(one.name)} | {cell(one.why)} | {code(one.query)} |" for one in exporter.missing
    ]
    return "\n".join(lines) + "\n"


def _jobs(totals: Totals, engine: str) -> Iterator[JobSeries]:
    return (series for series in totals.jobs if series.engine == engine)


def _workers(totals: Totals, engine: str) -> Iterator[WorkerState]:
    return (one for one in totals.workers if one.engine == engine)


def _living(totals: Totals, engine: str) -> Iterator[WorkerState]:
    return (one for one in _workers(totals, engine) if one.state != "down")


def _summed(values: Iterable[tuple[tuple[str, ...], float]]) -> Iterable[Sample]:
    found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for labels, number in values:
        found[labels].append(number)
    return sorted((labels, summed(numbers)) for labels, numbers in found.items())


def _ended(*outcomes: Outcome) -> Callable[[Attempts], int]:
    return lambda attempts: sum(attempts.finished.get(outcome, 0) for outcome in outcomes)


def _celery_queues(totals: Totals) -> Iterator[Sample]:
    for one in totals.queues.depths:
        if one.engine == "celery" and "waiting" in one.jobs:
            yield (one.queue,), one.jobs["waiting"]


def _task(
    name: str,
    help_: str,
    value_of: Callable[[JobSeries], float | Histogram],
    query: str,
    difference: str = "",
    *,
    exception: bool = False,
    bounds: tuple[float, ...] = (),
) -> Counterpart:
    """A family of celery-exporter's with the labels of a task."""

    def read(totals: Totals) -> Iterator[Sample]:
        for series in _jobs(totals, "celery"):
            labels = (series.job_name, GENERIC, *(("",) if exception else ()), series.queue)
            yield labels, value_of(series)

    labels = ("name", "hostname", "exception", "queue_name") if exception else _TASK
    kind = "histogram" if bounds else "counter"
    return Counterpart(Family(name, kind, help_, labels, read, bounds), query, difference)


def _host(
    name: str,
    help_: str,
    value_of: Callable[[WorkerState], float],
    query: str,
    fold: Callable[[Iterable[float]], float],
    difference: str = "",
) -> Counterpart:
    """A family of celery-exporter's with the label of a host."""

    def read(totals: Totals) -> Iterator[Sample]:
        found: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for one in _workers(totals, "celery"):
            found[cut(one.name.partition("@")[2] or one.name)].append(value_of(one))
        for labels, values in found.items():
            yield labels, fold(values)

    return Counterpart(Family(name, "gauge", help_, ("hostname",), read), query, difference)


def _queue(
    name: str, help_: str, value_of: Callable[[WorkerState], float], query: str
) -> Counterpart:
    """A family of celery-exporter's with the label of a queue that workers serve."""

    def read(totals: Totals) -> Iterable[Sample]:
        return _summed(
            (cut(queue), value_of(one))
            for one in _living(totals, "celery")
            for queue in dict.fromkeys(one.queues)
        )

    return Counterpart(Family(name, "gauge", help_, ("queue_name",), read), query)


def _of_rq_workers(
    name: str, help_: str, value_of: Callable[[Attempts], float], query: str
) -> Counterpart:
    """A counter of rq-exporter's; by queue, for jobmon keeps none by worker."""

    def read(totals: Totals) -> Iterable[Sample]:
        return _summed(
            ((GENERIC, series.queue), value_of(attempts))
            for series in _jobs(totals, "rq")
            for attempts in series.of_queue
        )

    family = Family(name, "counter", help_, ("name", "queues"), read)
    return Counterpart(family, query)


def _rq_workers(totals: Totals) -> Iterable[Sample]:
    return _summed(
        (cut(one.name, "busy" if one.busy else "idle", ",".join(one.queues)), 1.0)
        for one in _living(totals, "rq")
    )


def _rq_jobs(totals: Totals) -> Iterator[Sample]:
    for one in totals.queues.depths:
        if one.engine == "rq":
            for state, count in one.jobs.items():
                yield (one.queue, _RQ_STATUS.get(state, state)), count


def _finished(engine: str, outcome: str) -> str:
    equals = "=~" if "|" in outcome else "="
    return f'jobmon_jobs_finished_total{{engine="{engine}",outcome{equals}"{outcome}"}}'


CELERY_EXPORTER: Final = Exporter(
    'The hostname of tasks is "generic": jobmon counts each once, wherever it ran.',
    (
        _task(
            "celery_task_sent_total",
            "Tasks published.",
            lambda series: series.enqueued,
            'jobmon_jobs_enqueued_total{engine="celery"}',
        ),
        _task(
            "celery_task_started_total",
            "Tasks started.",
            lambda series: series.started,
            'jobmon_jobs_started_total{engine="celery"}',
        ),
        _task(
            "celery_task_succeeded_total",
            "Tasks that completed.",
            _ended(Outcome.COMPLETED),
            _finished("celery", "completed"),
        ),
        _task(
            "celery_task_failed_total",
            "Tasks that failed, ran too long or were lost.",
            _ended(*_FAILED),
            _finished("celery", "failed|timed_out|lost"),
            "exception is empty: jobmon_job_errors_total has the classes.",
            exception=True,
        ),
        _task(
            "celery_task_rejected_total",
            "Tasks that were rejected.",
            _ended(Outcome.REJECTED),
            _finished("celery", "rejected"),
            "Without those that the broker delivers again.",
        ),
        _task(
            "celery_task_revoked_total",
            "Tasks that were revoked or expired.",
            _ended(Outcome.REVOKED),
            _finished("celery", "revoked"),
        ),
        _task(
            "celery_task_retried_total",
            "Tasks that are tried again.",
            _ended(Outcome.RETRIED),
            _finished("celery", "retried"),
        ),
        _task(
            "celery_task_runtime",
            "Run time of tasks in seconds.",
            lambda series: series.duration,
            'jobmon_job_duration_seconds{engine="celery"}',
            "Of every attempt that ran to an end, however it ended, not of those alone that "
            "succeeded; other buckets.",
            bounds=JOB_BUCKETS,
        ),
        _task(
            "celery_task_queue_wait_time",
            "Time of tasks from when they could start to when they did, in seconds.",
            lambda series: series.queue_time,
            'jobmon_job_queue_time_seconds{engine="celery"}',
            "jobmon's own family has no job_name.",
            bounds=JOB_BUCKETS,
        ),
        _host(
            "celery_worker_up",
            "1 while a worker of the host lives.",
            lambda one: float(one.state != "down"),
            'jobmon_worker_up{engine="celery"}',
            max,
            "Also 0 after a worker was killed, for 10 minutes; gone at once where it stopped as it "
            "should.",
        ),
        _host(
            "celery_worker_tasks_active",
            "Tasks that run.",
            lambda one: 0.0 if one.state == "down" else float(one.busy),
            'jobmon_worker_slots_busy{engine="celery"}',
            sum,
            "The sum where a host has several workers.",
        ),
        Counterpart(
            Family(
                "celery_queue_length",
                "gauge",
                "Tasks that wait in the queue.",
                ("queue_name",),
                _celery_queues,
            ),
            'jobmon_queue_jobs{engine="celery",state="waiting"}',
        ),
        _queue(
            "celery_active_worker_count",
            "Workers that serve the queue.",
            lambda _: 1.0,
            'jobmon_queue_workers{engine="celery"}',
        ),
        _queue(
            "celery_active_process_count",
            "Tasks that the queue's workers can run at a time.",
            lambda one: float(one.slots),
            'jobmon_queue_slots{engine="celery"}',
        ),
    ),
    (
        Missing(
            "celery_task_received_total",
            "A worker takes tasks from the broker before it runs them: that is no progress.",
            'jobmon_jobs_started_total{engine="celery"}',
        ),
        Missing(
            "celery_active_consumer_count",
            "The broker counts its consumers: RabbitMQ's own exporter has them.",
            'jobmon_queue_workers{engine="celery"}',
        ),
    ),
)

RQ_EXPORTER: Final = Exporter(
    'Counters are by queue, their name is "generic": they stay when workers come and go.',
    (
        Counterpart(
            Family(
                "rq_workers", "gauge", "Workers by state.", ("name", "state", "queues"), _rq_workers
            ),
            'jobmon_worker_up{engine="rq"}',
            "state is busy or idle.",
        ),
        _of_rq_workers(
            "rq_workers_success_total",
            "Jobs that completed.",
            _ended(Outcome.COMPLETED),
            _finished("rq", "completed"),
        ),
        _of_rq_workers(
            "rq_workers_failed_total",
            "Attempts of jobs that failed.",
            _ended(*_FAILED, Outcome.RETRIED),
            _finished("rq", "failed|timed_out|lost|retried"),
        ),
        _of_rq_workers(
            "rq_workers_working_time_total",
            "Seconds that jobs ran.",
            lambda attempts: attempts.duration.sum,
            'jobmon_job_duration_seconds_sum{engine="rq"}',
        ),
        Counterpart(
            Family("rq_jobs", "gauge", "Jobs by status.", ("queue", "status"), _rq_jobs),
            'jobmon_queue_jobs{engine="rq"}',
            "status queued is state waiting, started is reserved; finished is left out: it falls "
            "with the life of results.",
        ),
    ),
    (
        Missing(
            "rq_request_processing_seconds",
            "It measures the exporter.",
            "jobmon_server_collect_duration_seconds",
        ),
    ),
)

EXPORTERS: Final = {"celery-exporter": CELERY_EXPORTER, "rq-exporter": RQ_EXPORTER}
"""By the name of their folders, and of their pages below ``/metrics/compat``."""
