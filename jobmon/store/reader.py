"""Reads the state store for the CLI, the server and metrics. Trusts nothing it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings


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
    last_update: float
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


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations by bucket, not cumulative; the last bucket has no upper bound."""

    counts: tuple[int, ...]
    sum: float
    """Seconds."""

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class JobSeries:
    """Totals of one label set. They never fall."""

    engine: str
    queue: str
    job_name: str
    enqueued: int
    started: int
    finished: Mapping[str, int]
    """By outcome."""
    lost_corrected: int
    """Of those counted as lost, how many turned up again."""
    errors: Mapping[str, int]
    """By error type."""
    duration: Histogram
    queue_time: Histogram
    pending: int
    """Gauge: jobs that wait now."""
    processing: int
    """Gauge: jobs that run now."""


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


@dataclass(frozen=True, slots=True)
class Totals:
    """All aggregates of the store at one moment."""

    jobs: list[JobSeries]
    commands: list[CommandSeries]
    transitions: int
    dropped: Mapping[str, int]
    """By reason."""
    label_overflow: Mapping[str, int]
    """Events filed under ``other``, by label."""
    label_values: Mapping[str, int]
    """Values in use, by label."""
    expired_unsynced: int
    lag: float | None
    """Seconds from the oldest event of the newest batch to its arrival."""


@dataclass(frozen=True, slots=True)
class Meta:
    """The store itself."""

    schema: int
    """0: nothing was written yet."""
    version: int
    """Of the last call that wrote."""
    readable: bool = field(default=True)
    """False: written by a newer jobmon."""


class Reader:
    """The reading half of the store. Safe to share between threads."""

    skipped: int
    """Entries that could not be understood so far."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        raise NotImplementedError

    def running_commands(self, limit: int = 1000) -> tuple[list[CommandRun], int]:
        """Open runs, newest first, and how many there are."""
        raise NotImplementedError

    def finished_commands(self, limit: int = 1000) -> tuple[list[CommandRun], int]:
        """Runs that ended within their TTL, newest first, and how many there are."""
        raise NotImplementedError

    def run(self, process_id: str) -> CommandRun | None:
        """One run while any of its keys lives."""
        raise NotImplementedError

    def run_counters(self, process_id: str, command: str) -> RunCounters | None:
        """Counters of a run, None once expired."""
        raise NotImplementedError

    def jobs_of_run(self, process_id: str, *, limit: int = 10_000, cursor: str = "") -> JobPage:
        """Jobs of a run, or of the tree of a job without one, by creation, then id."""
        raise NotImplementedError

    def job(self, process_id: str, job_id: str) -> bytes | None:
        """Record of one job as stored."""
        raise NotImplementedError

    def attempts(self, process_id: str, job_id: str) -> list[bytes]:
        """Records of a job's earlier attempts, oldest first."""
        raise NotImplementedError

    def queue_counts(self) -> dict[str, QueueCounts]:
        """Counts of every queue seen in the last 24 h, or with failed jobs."""
        raise NotImplementedError

    def failed_jobs(self, limit: int = 100, offset: int = 0) -> tuple[list[FailedJob], int]:
        """Failed and lost jobs, newest first, and how many there are."""
        raise NotImplementedError

    def totals(self) -> Totals:
        """Everything that ``/metrics`` shows of jobs and commands."""
        raise NotImplementedError

    def newest_process_id(self, command: str) -> str | None:
        """Id of the newest run of a command."""
        raise NotImplementedError

    def meta(self) -> Meta:
        """Schema and version of the store."""
        raise NotImplementedError
