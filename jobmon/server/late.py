"""Jobs that run, or wait to run, for longer than they should, from the state store alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.responses import Style, instant, ok
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

    def all(self, _request: Request) -> Response:
        """How many there are, and the oldest of them."""
        found = self._reader.late_jobs(MOST)
        limits = self._limits
        data = {
            "pending": {"count": found.pending, "after_seconds": limits.pending_seconds},
            "processing": {"count": found.processing, "after_seconds": limits.processing_seconds},
            "jobs": [_shown(one) for one in found.jobs],
        }
        return ok(Style.SUCCESS, data)


def _shown(one: LateJob) -> dict[str, Any]:
    members = asdict(one)
    members["command_name"] = members.pop("command")
    return members | {"since": instant(one.since), "seconds": round(one.seconds, 2)}
