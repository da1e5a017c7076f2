"""Schedulers and the entries of their schedules, from the state store alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.responses import Style, instant, ok
from jobmon.store.reader import Reader

_TIMES: Final = frozenset(
    {"last_seen_at", "started_at", "last_turn_at", "next_due_at", "last_due_at", "last_sent_at"}
)


class Schedules:
    """Handler of ``schedules``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def all(self, _request: Request) -> Response:
        """Every scheduler, alive or not, and every entry that one of them knows."""
        found = self._reader.schedules()
        data = {
            "schedulers": [_shown(asdict(one)) for one in found.schedulers],
            "entries": [_shown(asdict(one)) for one in found.entries],
        }
        return ok(Style.SUCCESS, data)


def _shown(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: instant(value)
        if name in _TIMES
        else round(value, 2)
        if isinstance(value, float)
        else value
        for name, value in members.items()
    }
