"""Workers, from the state store alone."""

from __future__ import annotations

from starlette.requests import Request

from jobmon.answers.workers import RunningJob, Worker
from jobmon.server.responses import instant
from jobmon.store.reader import Reader
from jobmon.store.workers import WorkerState


class Workers:
    """Handler of ``workers``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def all(self, _request: Request) -> list[Worker]:
        """Every worker that lives, and those that died a while ago."""
        return [_shown(one) for one in self._reader.workers()]


def _shown(one: WorkerState) -> Worker:
    running = [member.partition("/") for member in one.running]
    return Worker(
        id=one.id,
        engine=one.engine,
        name=one.name,
        hostname=one.hostname,
        pid=one.pid,
        app=one.app,
        version=one.version,
        pool=one.pool,
        state=one.state,
        started_at=instant(one.started_at),
        last_seen_at=instant(one.last_seen_at),
        queues=list(one.queues),
        slots=one.slots,
        busy=one.busy,
        running=[RunningJob(process_id, job_id) for process_id, _, job_id in running],
        resident_memory_bytes=one.resident_memory_bytes,
    )
