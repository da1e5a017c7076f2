"""What reading the store gives: plain values with their units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from jobmon.store.schedules import Schedules
from jobmon.store.workers import WorkerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobmon.settings import PerCommand
    from jobmon.store.judged import Judged
    from jobmon.store.late import LateQueue
    from jobmon.store.queues import Queues
    from jobmon.store.sync_state import SyncState


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A command run as it was last recorded. Times are Unix seconds."""

    process_id: str
    command: str
    source: str
    status: str
    """``running``, ``completed``, ``failed`` or ``lost``."""
    started_at: float | None
    finished_at: float | None
    duration: float | None
    """Seconds."""
    exit_code: int | None
    environment: str
    arguments: Mapping[str, object]
    options: Mapping[str, object]
    data: Mapping[str, object]
    """Everything recorded: ``trace_id``, ``host``, ``pid``, …"""
    due_at: float | None = None
    """When a scheduler should have sent it."""
    sent_at: float | None = None
    """When a scheduler sent it; it starts with its root job."""

    @property
    def opened_at(self) -> float | None:
        """Its start, or before that, when it was sent."""
        return self.sent_at if self.started_at is None else self.started_at


@dataclass(frozen=True, slots=True)
class RunCounters:
    """Counters of a run: equal to a recount of its records."""

    job_count: int
    success_jobs: int
    failed_jobs: int
    """Lost ones included."""
    revoked_jobs: int
    lost_jobs: int
    retried_jobs: int
    """Jobs with more than one attempt."""
    total_job_time: float
    """Seconds."""
    peak_memory: int
    """Bytes, the highest of any attempt."""
    finished: bool
    partial: bool
    """True: the run's start was never seen, or its keys expired before its last jobs."""
    drained_at: float | None

    @property
    def open_jobs(self) -> int:
        """Jobs that have not ended for good."""
        return self.job_count - self.success_jobs - self.failed_jobs - self.revoked_jobs


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of a run in the order of their creation."""

    jobs: list[tuple[str, bytes]]
    """(job id, record as stored)."""
    total: int
    next_cursor: str
    """Empty after the last page."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs of one queue by state."""

    pending: int = 0
    """Pending and retrying."""
    processing: int = 0
    failed: int = 0
    """Failed and lost."""


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that is failed or lost."""

    process_id: str
    job_id: str
    ended_at: float
    record: bytes


class Exemplar(NamedTuple):
    """One job among those that a number counts, by its span, which was sampled."""

    trace_id: str
    span_id: str
    seconds: float
    """How long it ran."""
    ended_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by bucket, not cumulative; the last bucket has no upper bound."""

    counts: tuple[int, ...]
    sum: float
    """Seconds."""
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict[int, Exemplar])
    """By bucket, counted from 0."""

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Totals of job attempts that are also shown summed by queue."""

    finished: Mapping[str, int]
    """By outcome."""
    duration: Histogram
    queue_time: Histogram


@dataclass(frozen=True, slots=True)
class JobSeries(Attempts):
    """Totals of one label set. They never fall."""

    engine: str
    queue: str
    job_name: str
    enqueued: int
    started: int
    lost_corrected: int
    """Of those counted as lost, how many turned up again."""
    errors: Mapping[str, int]
    """By error type; with those of series of its name that were forgotten."""
    forgotten: Attempts | None
    """Of series of its queue that were forgotten: they are in sums of the queue alone."""
    pending: int
    """Gauge: jobs that wait now."""
    processing: int
    """Gauge: jobs that run now."""
    finished_exemplars: Mapping[str, Exemplar]
    """By outcome."""

    @property
    def of_queue(self) -> tuple[Attempts, ...]:
        """What sums of its queue are made of."""
        return (self,) if self.forgotten is None else (self, self.forgotten)


@dataclass(frozen=True, slots=True)
class CommandSeries:
    """Totals of one command. Times are Unix seconds, None while unknown."""

    command: str
    runs: Mapping[str, int]
    """By outcome."""
    runs_lost_corrected: int
    jobs_finished: Mapping[str, int]
    """By outcome."""
    lost_corrected: int
    run_duration: Histogram
    drain_duration: Histogram
    last_start: float | None
    last_end: float | None
    last_success: float | None
    last_duration: float | None
    """Seconds."""
    last_run_failed: bool | None
    running: int
    """Gauge: runs open now."""
    oldest_running_start: float | None
    open_jobs: int
    """Gauge: jobs of its runs that have not ended."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All aggregates of the store at one moment."""

    jobs: list[JobSeries]
    known_jobs: list[tuple[str, str, str]]
    """Engine, queue and name of jobs that have no series yet, but would get one if they ran."""
    commands: list[CommandSeries]
    known_commands: list[str]
    """The same of commands."""
    transitions: int
    dropped: Mapping[str, int]
    """By reason."""
    label_overflow: Mapping[str, int]
    """Events filed under ``other``, by label; ``series``: for there were too many of jobs. Beats
    refused, by kind of what beats."""
    label_values: Mapping[str, int]
    """Values in use, by label; ``series``: sets of labels of jobs. How many are known, by kind of
    what beats."""
    sync: SyncState
    is_sync_enabled: bool
    """By the settings of who reads."""
    lag: float | None
    """Seconds from the oldest event of the newest batch to its arrival."""
    schedules: Schedules
    workers: tuple[WorkerState, ...]
    workers_lost: Mapping[str, int]
    """By engine."""
    late: tuple[LateQueue, ...]
    """Of every queue that has series."""
    queues: Queues
    queue_errors: Mapping[str, int]
    """By engine, how often its broker could not be read."""
    configured: Mapping[str, PerCommand]
    """What the settings say of commands that are known, if they say anything."""
    judged: Judged
    """What the analysis and the delivery of events have written down."""

    def maximum_run_times(self) -> dict[str, float]:
        """Declared seconds that a run may take, by command; of none that is muted."""
        return {
            command: own.maximum_run_time_seconds
            for command, own in self.configured.items()
            if own.maximum_run_time_seconds is not None and not own.mute
        }


@dataclass(frozen=True, slots=True)
class Meta:
    """The store itself."""

    schema: int
    """0: nothing was written yet."""
    version: int
    """Of the last call that wrote."""
    readable: bool = True
    """False: written by a newer jobmon."""
