"""The work that one of all servers does unasked: ends what nobody ends, and keeps the history."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import redis
from sqlalchemy.exc import DBAPIError

from jobmon.analysis.rounds import Rounds
from jobmon.analysis.waits import Waits
from jobmon.errors import JobmonError
from jobmon.history import database
from jobmon.history.commit import Committer
from jobmon.history.copying import LeaseLostError, Report
from jobmon.history.failures import Failures
from jobmon.history.fence import FencedError
from jobmon.history.retention import Retention
from jobmon.history.schema import tables
from jobmon.history.sync import Sync
from jobmon.history.write import History
from jobmon.publish.alertmanager import Alertmanager
from jobmon.publish.publisher import Publisher
from jobmon.queues.broker import brokers
from jobmon.retry.retrier import Retrier
from jobmon.server.leader import Leader
from jobmon.server.polling import Polling
from jobmon.server.reaper import Reaping
from jobmon.server.seldom import Seldom
from jobmon.settings.explain import value_of
from jobmon.store import connection
from jobmon.store.holding import taken
from jobmon.store.identity import Identity
from jobmon.store.idle_series import IdleSeries
from jobmon.store.keys import LEADER, PUBLISH, SYNC
from jobmon.store.lease import Lease
from jobmon.store.passes import Passes
from jobmon.store.queues import ENGINES, QueueDepths
from jobmon.store.reader import Reader
from jobmon.store.unsynced import Unsynced

if TYPE_CHECKING:
    from jobmon.analysis.report import Report as AnalysisReport
    from jobmon.server.migration import Migration
    from jobmon.settings import Settings

_FAILURES_EVERY_SECONDS: Final = 0.5
_RETRIES_EVERY_SECONDS: Final = 0.5
_EXTEND_EVERY_SECONDS: Final = 60.0
_ANALYZE_EVERY_SECONDS: Final = 15.0
"""What has drained meanwhile, or is due."""
_PUBLISH_EVERY_SECONDS: Final = 1.0
_FORGET_EVERY_SECONDS: Final = 3600.0
_ALERT_EVERY_SECONDS: Final = 1.0
_LOOK_EVERY_SECONDS: Final = 5.0
"""Whether a pass of the sync, or of the retention, is due."""
_LONGEST_FIRST_WAIT_SECONDS: Final = 30.0
_MOST_RUNS: Final = 10_000
_STOP_SECONDS: Final = 10.0
"""Longest wait at the end for what is being written; what is not done by then never was."""
_LOG_EVERY_SECONDS: Final = 600.0

_log: Final = logging.getLogger("jobmon.serve")


class _Task(NamedTuple):
    """What is done again and again, in a thread of its own."""

    name: str
    work: Callable[[int], object]
    """Called with the token of the leader's lease."""
    seconds: float
    """From the begin of one time to that of the next. What is missed is not made up for."""
    trouble: str
    """What does not happen while it fails."""
    first: float = 0.0
    """Seconds before the first time."""


class Work:
    """All of it. Every server has one; that of the leader works.

    What a leader that was frozen still does when it wakes is refused: by the store's scripts, which
    ask for its lease's token, and by the history, whose fence a later token has passed. Three ask
    for none: the reaper, which says the same whoever calls it, and is compared with last beats;
    what is learned of queues, and what Alertmanager is told, which the leader's next turn mends.
    """

    def __init__(
        self, settings: Settings, migration: Migration, rounds: Rounds, *, scheduled: bool = True
    ) -> None:
        """Make it; nothing is done yet.

        Args:
            settings: The store, the database, intervals.
            migration: Without its end, there is nothing to copy into.
            rounds: Of the analysis.
            scheduled: Whether to sync and to analyze by itself. Failed jobs are copied, and what is
                to be published is published all the same.

        Raises:
            SettingsError: The database's driver is not installed.
        """
        self._settings = settings
        self._migration = migration
        self._client = connection.connect(settings)
        self._leader = Leader(settings)
        self._stop = threading.Event()
        self._engine = database.connect(settings)
        own = tables(settings.database.table_prefix)
        store = Identity(self._client, settings)
        self._unsynced = Unsynced(self._client, settings)
        self._passes = Passes(self._client, settings)
        self._reaping = Reaping(self._client, settings)
        self._reader = Reader(self._client, settings)
        self._idle_series = IdleSeries(self._client, settings)
        self._failures = Failures(
            self._client,
            Committer(History(self._engine, own, LEADER, store), settings, self._stop),
            settings,
        )
        self._sync = Sync(
            self._client,
            Committer(History(self._engine, own, SYNC, store), settings, self._stop),
            settings,
            self._stop,
        )
        self._rounds = rounds
        self._waits = Waits(self._client, settings)
        self._publisher = Publisher(self._engine, self._client, settings, self._stop)
        self._alertmanager = Alertmanager(self._client, settings)
        self._retrier = Retrier(self._client, self._engine, settings, stop=self._stop)
        self._depths = QueueDepths(self._client, settings)
        polled = brokers(settings, self._client) if settings.queues_poll_seconds else []
        self._pollings = [Polling(broker, self._depths, self._stop) for broker in polled]
        self._retention = Retention(self._engine, own, settings, self._stop)
        self._interval_seconds = settings.sync.interval_minutes * 60
        self._analysis_interval_seconds = settings.analyze_mode.analysis_interval_minutes * 60
        self._scheduled = scheduled
        self._threads = [
            threading.Thread(target=self._migration.run, args=(self._stop,), daemon=True),
            *(
                threading.Thread(
                    target=self._repeat, args=(task,), name=f"jobmon-{task.name}", daemon=True
                )
                for task in self._tasks()
            ),
        ]

    def start(self) -> None:
        """Begin, as soon as this server leads."""
        for what, is_wanted in (("sync", "sync.enabled"), ("analyze", "analyze_mode.enabled")):
            why = self._why_not(is_wanted)
            if why:
                _log.info("this server does not %s by itself: %s", what, why)
        self._leader.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Write what is being written to its end, within 10 s, or not at all; then lead no more."""
        self._stop.set()
        deadline = time.monotonic() + _STOP_SECONDS
        begun = [thread for thread in self._threads if thread.ident is not None]
        for thread in begun:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._leader.stop()
        for polling in self._pollings:
            polling.close()
        if any(thread.is_alive() for thread in begun):
            # It goes down with the process: a transaction that is not committed is none.
            _log.warning("the database or the store does not answer: work is broken off")
            return
        self._engine.dispose()
        self._client.close()

    def _tasks(self) -> list[_Task]:
        settings = self._settings
        found = [
            _Task("reaper", self._reap, self._reaping.interval_seconds, "silence is not judged"),
            _Task(
                "failures", self._copy_failures, _FAILURES_EVERY_SECONDS, "failures are not copied"
            ),
            _Task("retries", self._retry, _RETRIES_EVERY_SECONDS, "failed jobs are not run again"),
            _Task("publish", self._publish, _PUBLISH_EVERY_SECONDS, "nobody is told of anomalies"),
        ]
        found += [
            _Task(
                f"queues-{polling.engine}",
                polling.once,
                settings.queues_poll_seconds,
                "the depth of queues is not known",
            )
            for polling in self._pollings
        ]
        if self._unpolled():
            trouble = "queues that are read no longer look stale"
            found.append(_Task("unpolled", self._forget_unpolled, _FORGET_EVERY_SECONDS, trouble))
        if settings.alertmanager.urls:
            trouble = "Alertmanager is not told of anomalies"
            found.append(_Task("alertmanager", self._alert, _ALERT_EVERY_SECONDS, trouble))
        if settings.sync.enabled:
            # More than twice in the life of what has completed.
            seconds = min(_EXTEND_EVERY_SECONDS, settings.completed_ttl / 4)
            found.append(_Task("extend", self._extend, seconds, "what waits may expire"))
        if settings.history.retention_days:
            found.append(
                _Task("retention", self._prune, _LOOK_EVERY_SECONDS, "old rows are not deleted")
            )
        first = random.uniform(0, _LONGEST_FIRST_WAIT_SECONDS)  # noqa: S311
        if settings.metrics.series_retention_days:
            forget = self._forget, _FORGET_EVERY_SECONDS, "idle series stay"
            found.append(_Task("series", *forget, first))
        if not self._why_not("sync.enabled"):
            found.append(
                _Task("sync", self._copy, _LOOK_EVERY_SECONDS, "not everything is synced", first)
            )
        if not self._why_not("analyze_mode.enabled"):
            found.append(
                _Task("analysis", self._analyze, _ANALYZE_EVERY_SECONDS, "no run is judged", first)
            )
            trouble = "it is not learned how long jobs usually wait"
            found.append(_Task("waits", self._learn, _ANALYZE_EVERY_SECONDS, trouble, first))
        return found

    def _why_not(self, setting: str) -> str:
        """Why it does not do by itself what a setting switches on; empty: it does."""
        if not self._scheduled:
            return "--no-schedule"
        if self._settings.environment == "testing":
            return "environment is testing"
        return "" if value_of(self._settings, setting) else f"{setting} is false"

    def _repeat(self, task: _Task) -> None:
        """Until the end, while this server leads, and whatever fails."""
        trouble = Seldom(_LOG_EVERY_SECONDS)
        due = time.monotonic() + task.first
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            token = self._leader.token
            if token is not None:
                try:
                    task.work(token)
                except (FencedError, LeaseLostError):
                    _log.info("%s: another server does the work by now", task.name)
                except Exception as error:
                    if not self._stop.is_set() and trouble.is_due():
                        _tell(task.trouble, error)
            now = time.monotonic()
            due = due + task.seconds if due + task.seconds > now else now + task.seconds

    def _reap(self, _token: int) -> None:
        self._reaping.once()

    def _extend(self, token: int) -> None:
        self._unsynced.extend(token)

    def _prune(self, _token: int) -> None:
        if self._migration.done:
            self._retention.turn()

    def _unpolled(self) -> list[str]:
        polled = {polling.engine for polling in self._pollings}
        return [engine for engine in ENGINES if engine not in polled]

    def _forget_unpolled(self, _token: int) -> None:
        self._depths.forget(self._unpolled())

    def _forget(self, token: int) -> None:
        scheduled = {
            one.name for one in self._reader.schedules().entries if one.state != "disabled"
        }
        running = {run.command for run in self._reader.running_commands(_MOST_RUNS)[0]}
        self._idle_series.forget(token, scheduled | running)

    def _copy_failures(self, token: int) -> None:
        if self._migration.done:
            copied = self._failures.copy(token)
            self._passes.copied(token, {"failed_jobs": copied.failed})

    def _retry(self, token: int) -> None:
        if self._migration.done:
            self._retrier.work(token)

    def _analyze(self, _token: int) -> None:
        if self._migration.done:
            report = self._rounds.scheduled(self._analysis_interval_seconds)
            if report is not None and (report.events or report.errors):
                _tell_of_anomalies(report)

    def _learn(self, _token: int) -> None:
        self._waits.turn()

    def _publish(self, _token: int) -> None:
        if not self._migration.done:
            return
        with taken(Lease(self._client, self._settings, PUBLISH)) as token:
            if token is not None:
                self._publisher.publish(token)

    def _alert(self, _token: int) -> None:
        self._alertmanager.turn()

    def _copy(self, _token: int) -> None:
        """One pass if it is due, unless somebody else's goes on, such as ``jobmon sync``."""
        if not (self._migration.done and self._passes.due(self._interval_seconds)):
            return
        with taken(Lease(self._client, self._settings, SYNC)) as token:
            # Another one may have begun and ended since it was asked.
            if token is not None and self._passes.due(self._interval_seconds):
                _tell_of(self._sync.run(token))


def _tell(trouble: str, error: Exception) -> None:
    if isinstance(error, DBAPIError):  # its text holds the statement and its values
        _log.warning("%s: %s", trouble, database.said(error))
    elif isinstance(error, JobmonError | redis.RedisError):
        _log.warning("%s: %s", trouble, error)
    else:
        _log.error("%s", trouble, exc_info=error)


def _tell_of(report: Report) -> None:
    _log.info(
        "synced %d runs and %d jobs in %.2f s%s",
        *(report.runs, report.jobs, report.seconds),
        f", stopped early: {report.stopped}" if report.stopped else "",
    )
    if report.skipped:
        _log.warning(
            "%d records were set aside, or had expired: jobmon doctor --dead-letters shows those "
            "that were set aside",
            report.skipped,
        )


def _tell_of_anomalies(report: AnalysisReport) -> None:
    _log.info(
        "judged %d commands in %.2f s: %d events to be told",
        *(report.commands_analyzed, report.seconds, report.events),
    )
    for error in report.errors:
        _log.warning("analysis: %s", error)
