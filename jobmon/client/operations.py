"""Every operation of the API, by the name of the clients' method in capitals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, cast

from jobmon.answers.analysis import Analysis
from jobmon.answers.anomalies import Anomalies
from jobmon.answers.commands import Command, FinishedCommand, RecordedJob, RunningCommand
from jobmon.answers.failed import FailedJob, RetryProgress
from jobmon.answers.health import HealthReport, HealthStates
from jobmon.answers.history import CommandMetrics, Dashboard, JobMetrics
from jobmon.answers.job import Job
from jobmon.answers.late import LateJobs
from jobmon.answers.paginator import Paginator
from jobmon.answers.queues import Stats
from jobmon.answers.schedules import Schedules
from jobmon.answers.workers import Worker
from jobmon.client.shapes import Data, Entries, Fine, Sentence, Shape, Text, Whole

T = TypeVar("T")
Method = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """What can be asked."""

    method: Method
    path: str
    """Below the prefix, or beside it if it begins with a slash. In braces stand arguments of the
    method; its others are the query."""
    shape: Shape[T]
    """How it is answered."""
    unwell: bool = False
    """True: with 503 it is answered too."""
    has_body: bool = False
    """True: arguments that are not in the path are members of the body, not the query."""
    longest_seconds: float | None = None
    """For which an answer is waited for, if longer than the client's timeout."""


DASHBOARD: Final = Operation("GET", "dashboard", Data(Dashboard))
HEALTH: Final = Operation(
    "GET",
    "health",
    Data[HealthReport | HealthStates](cast(Any, HealthReport | HealthStates)),
    unwell=True,
)
STATS: Final = Operation("GET", "stats", Data(Stats))

FAILED_JOBS: Final = Operation("GET", "jobs/failed", Whole(Paginator[FailedJob]))
RETRY: Final = Operation("POST", "jobs/failed/{id}/retry", Sentence())
DELETE_FAILED: Final = Operation("DELETE", "jobs/failed/{id}", Sentence())
LATE_JOBS: Final = Operation("GET", "jobs/late", Data(LateJobs))
JOB: Final = Operation("GET", "jobs/{job_id}", Data(Job))

RUNNING_COMMANDS: Final = Operation("GET", "commands/running", Entries(RunningCommand))
FINISHED_COMMANDS: Final = Operation("GET", "commands/finished", Entries(FinishedCommand))
COMMAND: Final = Operation("GET", "commands/{process_id}", Data(Command))
JOBS_OF_COMMAND: Final = Operation("GET", "commands/{process_id}/jobs", Entries(RecordedJob))
RETRY_FAILED: Final = Operation("POST", "commands/{process_id}/retry-failed", Sentence())
RETRY_PROGRESS: Final = Operation("GET", "commands/{process_id}/retry-failed", Data(RetryProgress))

COMMAND_METRICS: Final = Operation("GET", "command-metrics", Data(CommandMetrics))
JOB_METRICS: Final = Operation("GET", "job-metrics", Data(JobMetrics))
ANOMALIES: Final = Operation("GET", "anomalies", Data(Anomalies))
ANALYSIS: Final = Operation("POST", "analysis", Data(Analysis), has_body=True, longest_seconds=70.0)

SCHEDULES: Final = Operation("GET", "schedules", Data(Schedules))
WORKERS: Final = Operation("GET", "workers", Data(list[Worker]))

DOCUMENT: Final = Operation("GET", "openapi.json", Whole(dict[str, Any]))
REFERENCE: Final = Operation("GET", "docs", Text("text/html"))
METRICS: Final = Operation("GET", "/metrics", Text("text/plain"))
OWN_METRICS: Final = Operation("GET", "/metrics/self", Text("text/plain"))
COMPAT_METRICS: Final = Operation("GET", "/metrics/compat/{exporter}", Text("text/plain"))
ALIVE: Final = Operation("GET", "/livez", Fine())
READY: Final = Operation("GET", "/readyz", Fine(), unwell=True)
