"""Queues at a glance: how many jobs wait, run and failed."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from jobmon.answers.queues import Queue
from jobmon.answers.queues import Stats as Shown
from jobmon.history.read import HistoryReader
from jobmon.server.migration import Migration
from jobmon.settings import Settings
from jobmon.store.reader import Reader
from jobmon.store.state import QueueCounts

_NONE: Final = QueueCounts()


class Stats:
    """Handler of ``stats``."""

    def __init__(
        self, reader: Reader, history: HistoryReader, migration: Migration, settings: Settings
    ) -> None:
        self._reader = reader
        self._history = history
        self._migration = migration
        self._always = settings.queues

    def queues(self, _request: Request) -> Shown:
        """Every configured queue and every one lately seen or with failed jobs.

        Raises:
            DatabaseUnavailable: Who failed is not known. The store knows the last days' alone, and
                a number that shrinks while the database is away would be a false one.
        """
        self._migration.require()
        failed = self._history.failed_by_queue()
        counts = self._reader.queue_counts()
        # Eager jobs were in no queue.
        names = {*self._always, *counts, *failed} - {""}
        queues: dict[str, Queue] = {}
        for name in sorted(names):
            count = counts.get(name, _NONE)
            queues[name] = Queue(count.pending, count.processing, failed.get(name, 0))
        return Shown(sum(queue.failed for queue in queues.values()), queues)
