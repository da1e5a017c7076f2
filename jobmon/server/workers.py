"""Workers, from the state store alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.responses import Style, instant, ok
from jobmon.store.reader import Reader
from jobmon.store.workers import WorkerState


class Workers:
    """Handler of ``workers``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def all(self, _request: Request) -> Response:
        """Every worker that lives, and those that died a while ago."""
        return ok(Style.SUCCESS, [_shown(one) for one in self._reader.workers()])


def _shown(one: WorkerState) -> dict[str, Any]:
    running = [member.partition("/") for member in one.running]
    return asdict(one) | {
        "started_at": instant(one.started_at),
        "last_seen_at": instant(one.last_seen_at),
        "running": [
            {"process_id": process_id, "job_id": job_id} for process_id, _, job_id in running
        ],
    }
