"""Jobs that run, or wait to run, for longer than they should, from the state store alone."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from jobmon.answers import late as models
from jobmon.server.responses import instant
from jobmon.settings import Settings
from jobmon.store.late import LateJob
from jobmon.store.reader import Reader

MOST: Final = 1000
"""In one answer."""


class Late:
    """Handler of ``jobs/late``."""

    def __init__(self, reader: Reader, settings: Settings) -> None:
        self._reader = reader
        self._limits = settings.late

    def all(self, _request: Request) -> models.LateJobs:
        """How many there are, and the oldest of them."""
        found = self._reader.late_jobs(MOST)
        limits = self._limits
        return models.LateJobs(
            pending=models.LateCount(found.pending, limits.pending_seconds),
            processing=models.LateCount(found.processing, limits.processing_seconds),
            jobs=[_shown(one) for one in found.jobs],
        )


def _shown(one: LateJob) -> models.LateJob:
    return models.LateJob(
        process_id=one.process_id,
        job_id=one.job_id,
        status=one.status,
        engine=one.engine,
        queue=one.queue,
        job_name=one.job_name,
        attempt=one.attempt,
        worker=one.worker,
        since=instant(one.since),
        seconds=one.seconds,
        command_name=one.command,
    )
