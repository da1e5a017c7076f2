"""Queues at a glance: how many jobs wait, run and failed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.responses import Style, ok
from jobmon.settings import Settings
from jobmon.store.reader import Reader
from jobmon.store.state import QueueCounts


class Stats:
    """Handler of ``stats``."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._always = settings.queues

    def queues(self, _request: Request) -> Response:
        """Every configured queue and every one lately seen or with failed jobs."""
        counts = {name: QueueCounts() for name in self._always} | self._reader.queue_counts()
        data = {
            "total_failed": sum(queue.failed for queue in counts.values()),
            "queues": {
                name: {
                    "pending": counts[name].pending,
                    "processing": counts[name].processing,
                    "failed": counts[name].failed,
                }
                for name in sorted(counts)
            },
        }
        return ok(Style.STATUS, data)
