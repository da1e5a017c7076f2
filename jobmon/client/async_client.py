"""The client for coroutines, word for word as the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any, Literal, Self, TypeVar

import anyio
import httpx

from jobmon.answers.analysis import Analysis
from jobmon.answers.anomalies import Anomalies, Incident
from jobmon.answers.commands import Command, FinishedCommand, RecordedJob, RunningCommand
from jobmon.answers.failed import FailedJob, RetryProgress
from jobmon.answers.health import HealthReport, HealthStates
from jobmon.answers.history import CommandMetric, CommandMetrics, Dashboard, JobMetric, JobMetrics
from jobmon.answers.job import Job
from jobmon.answers.late import LateJobs
from jobmon.answers.paginator import Paginator
from jobmon.answers.queues import Stats
from jobmon.answers.schedules import Schedules
from jobmon.answers.workers import Worker
from jobmon.client import operations
from jobmon.client.exchange import Exchange
from jobmon.client.operations import Operation
from jobmon.client.retries import Retries
from jobmon.client.shapes import Listing

T = TypeVar("T")


class AsyncClient:
    """Asks a server of jobmon's. Tasks of one event loop may share one.

    Every method raises :class:`~jobmon.client.errors.ApiError` where the server does not answer as
    asked. Times in answers are UTC, durations seconds, memory bytes.
    """

    def __init__(
        self,
        base_url: str,
        *,
        prefix: str = "api/job-monitor",
        token: str | None = None,
        user: tuple[str, str] | None = None,
        timeout: float = 10.0,
        retries: int = 2,
        longest_wait_seconds: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            base_url: Of the server, up to where its prefix begins.
            prefix: The server's setting.
            token: Of a scope that allows what is asked.
            user: Name and password, in place of a token.
            timeout: Seconds to wait for a connection, and for each piece of an answer.
            retries: How often to ask again what only reads, when the connection is lost, or with
                429 and 503. Between them pass half a second, one, two…, or what the server says.
            longest_wait_seconds: If the server says more, it is not asked again.
            http: A client of yours, with proxies, certificates and a timeout of its own; it stays
                open.

        Raises:
            ValueError: An argument is not allowed.
        """
        self._exchange = Exchange(base_url, prefix, token, user)
        self._retries = Retries(retries, longest_wait_seconds)
        self._http = http if http is not None else httpx.AsyncClient(timeout=timeout)
        self._is_own = http is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections, but for those of a client of yours."""
        if self._is_own:
            await self._http.aclose()

    async def dashboard(self, *, days: int = 7, command: str | None = None) -> Dashboard:
        """Everything at a glance.

        Args:
            days: How many whole days before today.
            command: Of this command alone.
        """
        return await self._ask(operations.DASHBOARD, days=days, command=command)

    async def health(self) -> HealthReport | HealthStates:
        """Whether Redis, the database and the history's age are as they should.

        Returns:
            A stranger sees states alone, with the server's setting ``health_check.public``.
            Unhealthy is an answer, too.
        """
        return await self._ask(operations.HEALTH)

    async def stats(self) -> Stats:
        """Jobs per queue: pending, processing, failed."""
        return await self._ask(operations.STATS)

    async def failed_jobs(self, *, page: int = 1, per_page: int = 20) -> Paginator[FailedJob]:
        """Failed jobs, newest first.

        Args:
            page: Number of the page, from 1.
            per_page: Entries of a page, 1 to 100.
        """
        return await self._ask(operations.FAILED_JOBS, page=page, per_page=per_page)

    def iter_failed_jobs(self, *, per_page: int = 100) -> AsyncIterator[FailedJob]:
        """Failed jobs of all pages, newest first.

        Those that fail meanwhile push others to a later page, where they come once more.

        Args:
            per_page: How many are fetched at a time, 1 to 100.
        """

        async def page(number: int) -> Paginator[FailedJob]:
            return await self.failed_jobs(page=number, per_page=per_page)

        return _entries(page)

    async def retry(self, id: int | str) -> str:  # noqa: A002  as in the document
        """Push a failed job back onto its queue.

        Args:
            id: Number of the failed job, or the engine's id of it.

        Returns:
            What was done, for people.
        """
        return await self._ask(operations.RETRY, id=id)

    async def delete_failed(self, id: int | str) -> str:  # noqa: A002
        """Delete a failed job; the history of its run stays.

        Args:
            id: Number of the failed job, or the engine's id of it.

        Returns:
            What was done, for people.
        """
        return await self._ask(operations.DELETE_FAILED, id=id)

    async def late_jobs(self) -> LateJobs:
        """Jobs that run, or wait to run, for longer than they should."""
        return await self._ask(operations.LATE_JOBS)

    async def job(self, job_id: str, *, process_id: str | None = None) -> Job:
        """One job with its attempts, its exception and its arguments.

        Args:
            job_id: The engine's.
            process_id: Of its run, where several have a job of that id.
        """
        return await self._ask(operations.JOB, job_id=job_id, process_id=process_id)

    async def running_commands(self) -> Listing[RunningCommand]:
        """Open command runs, newest first, at most 1,000."""
        return await self._ask(operations.RUNNING_COMMANDS)

    async def finished_commands(self) -> Listing[FinishedCommand]:
        """Command runs that ended a while ago, newest first, at most 1,000."""
        return await self._ask(operations.FINISHED_COMMANDS)

    async def command(self, process_id: str) -> Command:
        """One run with its counters.

        Args:
            process_id: Of the run.
        """
        return await self._ask(operations.COMMAND, process_id=process_id)

    async def jobs_of_command(
        self, process_id: str, *, cursor: str | None = None
    ) -> Listing[RecordedJob]:
        """Records of a run's jobs by creation, at most 10,000 at a time.

        Args:
            process_id: Of the run.
            cursor: The ``next_cursor`` of those before.
        """
        return await self._ask(operations.JOBS_OF_COMMAND, process_id=process_id, cursor=cursor)

    async def iter_jobs_of_command(self, process_id: str) -> AsyncIterator[RecordedJob]:
        """Records of all jobs of a run, by creation.

        Args:
            process_id: Of the run.
        """
        cursor = None
        while True:
            some = await self.jobs_of_command(process_id, cursor=cursor)
            for one in some.entries:
                yield one
            cursor = some.next_cursor
            if cursor is None:
                return

    async def retry_failed(self, process_id: str) -> str:
        """Ask for all failed jobs of a run to be pushed back onto their queues.

        Args:
            process_id: Of the run.

        Returns:
            What was done, for people; :meth:`retry_progress` tells how far it is.
        """
        return await self._ask(operations.RETRY_FAILED, process_id=process_id)

    async def retry_progress(self, process_id: str) -> RetryProgress:
        """How far what :meth:`retry_failed` asked for is.

        Args:
            process_id: Of the run.
        """
        return await self._ask(operations.RETRY_PROGRESS, process_id=process_id)

    async def command_metrics(
        self, command: str, *, days: int = 30, page: int = 1, per_page: int = 15
    ) -> CommandMetrics:
        """Runs of a command, newest first, and their trends.

        Args:
            command: Its name.
            days: How many whole days before today.
            page: Number of the page, from 1.
            per_page: Entries of a page, 1 to 100.
        """
        return await self._ask(
            operations.COMMAND_METRICS, command=command, days=days, page=page, per_page=per_page
        )

    def iter_command_metrics(
        self, command: str, *, days: int = 30, per_page: int = 100
    ) -> AsyncIterator[CommandMetric]:
        """Runs of a command of all pages, newest first.

        Args:
            command: Its name.
            days: How many whole days before today.
            per_page: How many are fetched at a time, 1 to 100.
        """

        async def page(number: int) -> Paginator[CommandMetric]:
            found = await self.command_metrics(command, days=days, page=number, per_page=per_page)
            return found.metrics

        return _entries(page)

    async def job_metrics(
        self,
        *,
        process_id: str | None = None,
        command: str | None = None,
        status: Literal["success", "failed"] | None = None,
        days: int = 30,
        page: int = 1,
        per_page: int = 15,
    ) -> JobMetrics:
        """Jobs that ended, newest first, and their statistics.

        Args:
            process_id: Of this run alone.
            command: Of this command alone.
            status: That ended so.
            days: How many whole days before today.
            page: Number of the page, from 1.
            per_page: Entries of a page, 1 to 100.
        """
        return await self._ask(
            operations.JOB_METRICS,
            process_id=process_id,
            command=command,
            status=status,
            days=days,
            page=page,
            per_page=per_page,
        )

    def iter_job_metrics(
        self,
        *,
        process_id: str | None = None,
        command: str | None = None,
        status: Literal["success", "failed"] | None = None,
        days: int = 30,
        per_page: int = 100,
    ) -> AsyncIterator[JobMetric]:
        """Jobs that ended of all pages, newest first.

        Args:
            process_id: Of this run alone.
            command: Of this command alone.
            status: That ended so.
            days: How many whole days before today.
            per_page: How many are fetched at a time, 1 to 100.
        """

        async def page(number: int) -> Paginator[JobMetric]:
            found = await self.job_metrics(
                process_id=process_id,
                command=command,
                status=status,
                days=days,
                page=number,
                per_page=per_page,
            )
            return found.metrics

        return _entries(page)

    async def anomalies(
        self,
        *,
        command: str | None = None,
        severity: Literal["low", "medium", "high", "critical"] | None = None,
        state: Literal["open", "resolved"] | None = None,
        days: int = 30,
        page: int = 1,
        per_page: int = 15,
    ) -> Anomalies:
        """Incidents that the analysis found, newest first.

        Args:
            command: Of this command alone.
            severity: Of this one alone.
            state: Of this one alone.
            days: How many whole days before today.
            page: Number of the page, from 1.
            per_page: Entries of a page, 1 to 100.
        """
        return await self._ask(
            operations.ANOMALIES,
            command=command,
            severity=severity,
            state=state,
            days=days,
            page=page,
            per_page=per_page,
        )

    def iter_anomalies(
        self,
        *,
        command: str | None = None,
        severity: Literal["low", "medium", "high", "critical"] | None = None,
        state: Literal["open", "resolved"] | None = None,
        days: int = 30,
        per_page: int = 100,
    ) -> AsyncIterator[Incident]:
        """Incidents of all pages, newest first.

        Args:
            command: Of this command alone.
            severity: Of this one alone.
            state: Of this one alone.
            days: How many whole days before today.
            per_page: How many are fetched at a time, 1 to 100.
        """

        async def page(number: int) -> Paginator[Incident]:
            found = await self.anomalies(
                command=command,
                severity=severity,
                state=state,
                days=days,
                page=number,
                per_page=per_page,
            )
            return found.anomalies

        return _entries(page)

    async def analysis(self, command: str | None = None) -> Analysis:
        """Judge the newest run of every command, now. That may take a minute.

        Args:
            command: This one alone.
        """
        return await self._ask(operations.ANALYSIS, command=command)

    async def schedules(self) -> Schedules:
        """Schedulers, alive or not, and the entries of their schedules."""
        return await self._ask(operations.SCHEDULES)

    async def workers(self) -> list[Worker]:
        """Workers that live, and those that died a while ago."""
        return await self._ask(operations.WORKERS)

    async def document(self) -> dict[str, Any]:
        """The server's OpenAPI document."""
        return await self._ask(operations.DOCUMENT)

    async def reference(self) -> str:
        """The document as a page of HTML."""
        return await self._ask(operations.REFERENCE)

    async def metrics(self) -> str:
        """For Prometheus: what every replica answers alike."""
        return await self._ask(operations.METRICS)

    async def own_metrics(self) -> str:
        """For Prometheus: the server process alone that answers."""
        return await self._ask(operations.OWN_METRICS)

    async def compat_metrics(self, exporter: Literal["celery-exporter", "rq-exporter"]) -> str:
        """For Prometheus: the same as :meth:`metrics`, under the names that another one uses.

        Raises:
            NotFound: The server does not serve it: ``metrics.compat`` is off.
        """
        return await self._ask(operations.COMPAT_METRICS, exporter=exporter)

    async def alive(self) -> bool:
        """Whether the process runs."""
        return await self._ask(operations.ALIVE)

    async def ready(self) -> bool:
        """Whether the configuration is valid and the tables are there."""
        return await self._ask(operations.READY)

    async def _ask(self, operation: Operation[T], **values: object) -> T:
        request = self._exchange.request(self._http, operation, values)
        done = 0
        while True:
            try:
                outcome = await self._http.send(request)
            except httpx.RequestError as reason:
                outcome = reason
            wait = self._retries.wait_seconds(operation, done, outcome)
            if wait is None:
                return self._exchange.read(operation, outcome)
            await anyio.sleep(wait)
            done += 1


async def _entries(page: Callable[[int], Awaitable[Paginator[T]]]) -> AsyncIterator[T]:
    for number in count(1):
        found = await page(number)
        for one in found.data:
            yield one
        if found.next_page_url is None:
            return
