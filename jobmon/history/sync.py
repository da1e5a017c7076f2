"""Copies what the store marked as unsynced into the history, or counts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import redis

from jobmon.history import rows
from jobmon.history.commit import Committer
from jobmon.history.copying import LEAST_READ, Pass, Report, StoppedError
from jobmon.history.fields import UnreadableError
from jobmon.store.clock import now_us
from jobmon.store.dead_letters import DeadLetters
from jobmon.store.passes import Passes
from jobmon.store.unsynced import Unsynced

if TYPE_CHECKING:
    from jobmon.settings import Settings
    from jobmon.store.marks import Change, Mark

_MARKS: Final = 50
"""Runs, and jobs without one, that are read together."""


class Sync:
    """Passes over what is unsynced. One at a time: whoever calls holds the lease."""

    def __init__(
        self,
        client: redis.Redis,
        committer: Committer,
        settings: Settings,
        stop: threading.Event,
        progress: Callable[[Report], None] | None = None,
    ) -> None:
        """Make one.

        Args:
            client: Of the store.
            committer: Of the history.
            settings: ``settings.sync`` and the store's.
            stop: Once set, a pass ends after its current batch.
            progress: Told of the pass so far after each batch.
        """
        self._redis: Any = client
        self._committer = committer
        self._settings = settings.sync
        self._unsynced = Unsynced(
            client, settings, cleanup_after_hours=settings.sync.cleanup_after_hours
        )
        self._dead_letters = DeadLetters(client, settings)
        self._passes = Passes(client, settings)
        self._stop = stop
        self._progress = progress or _silent

    def run(
        self, token: int, *, batch_size: int | None = None, cleanup: bool | None = None
    ) -> Report:
        """Copy everything that was marked before now, then clean up what needs no copy any more.

        Args:
            token: Of the lease.
            batch_size: Jobs and runs in one transaction; default ``sync.batch_size``.
            cleanup: Default ``sync.cleanup_enabled``.

        Raises:
            DatabaseUnavailable: The database was away for too long.
            FencedError: Somebody else has written meanwhile.
            LeaseLostError: Somebody else holds the lease.
            redis.RedisError: The store cannot be asked.
        """
        told = {"job_metrics": 0, "command_metrics": 0}

        def progress(report: Report) -> None:
            so_far = {"job_metrics": report.jobs, "command_metrics": report.runs}
            self._passes.copied(token, {table: so_far[table] - told[table] for table in so_far})
            told.update(so_far)
            self._progress(report)

        one_pass = Pass(
            *(self._unsynced, self._dead_letters, self._committer, self._settings, token),
            batch_size=batch_size or self._settings.batch_size,
            stop=self._stop,
            progress=progress,
        )
        report = one_pass.report
        self._passes.begin(token)
        try:
            self._unsynced.extend(token)
            one_pass.copy(_marks(self._unsynced, now_us(self._redis)))
            if self._settings.cleanup_enabled if cleanup is None else cleanup:
                report.cleaned = self._unsynced.remove(token)
        except StoppedError as stopped:
            report.stopped = str(stopped)
        except Exception:
            self._end(token, 0.0, success=False)
            raise
        report.seconds = time.monotonic() - one_pass.began
        self._end(token, report.seconds, success=not report.stopped)
        return report

    def _end(self, token: int, seconds: float, *, success: bool) -> None:
        # One that was asked to stop counts as broken off: who works next goes on at once.
        if success or not self._stop.is_set():
            with suppress(redis.RedisError):
                self._passes.end(token, seconds, success=success)


def count(client: redis.Redis, settings: Settings) -> Report:
    """What a pass would copy; writes nothing anywhere.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    began = time.monotonic()
    unsynced = Unsynced(client, settings)
    report = Report(dry_run=True)
    now = datetime.now(UTC)
    for marks in _marks(unsynced, now_us(client)):
        for change in unsynced.peek(marks, LEAST_READ):
            _count(change, report, now)
    for some in unsynced.peek_failures():
        members = [(process_id, job_id) for process_id, job_id, _ in some]
        for raw, _ in unsynced.failure_records(members):
            with suppress(UnreadableError):
                report.failed_jobs += raw is not None and rows.read(raw).is_failed
    report.seconds = time.monotonic() - began
    return report


def _count(change: Change, report: Report, now: datetime) -> None:
    mark = change.mark
    for one in change.jobs:
        try:
            if one.record is not None:
                record = rows.read(one.record)
                row = rows.job(mark.process_id, one.job_id, one.version, record, now)
                report.jobs += row is not None
        except UnreadableError:
            report.skipped += 1
    if change.more:
        return
    report.marks += 1
    try:
        if change.run is not None and mark.command is not None:
            rows.run(mark.process_id, mark.command, mark.version, change.run, now)
            report.runs += 1
    except UnreadableError:
        report.skipped += 1
    report.skipped += change.gone or bool(change.trouble)


def _marks(unsynced: Unsynced, until: int) -> Iterator[list[Mark]]:
    """Pages of them, of versions up to one: what is marked meanwhile is the next pass's."""
    after: Mark | None = None
    while marks := unsynced.members(_MARKS, after, until):
        yield marks
        after = marks[-1]


def _silent(_report: Report) -> None:
    """Nobody wants to be told."""
