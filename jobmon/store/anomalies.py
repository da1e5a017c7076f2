"""Incidents as ``/metrics`` and Alertmanager show them: those that are open, or were just now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.store import script
from jobmon.store.analyses import holds_seconds
from jobmon.store.keys import Keys
from jobmon.store.members import unix_time
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

MOST_SHOWN: Final = 500
SHOWN_SECONDS: Final = 3600.0
"""After its end, for which an incident is still shown."""
OPENED: Final = "opened:"
_COUNTED: Final = "counted"
_TEXTS: Final = ("command", "app", "environment", "signal", "severity", "summary")
_SCRIPT: Final = script.read("openings.lua")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAnomaly:
    """One incident. Times are Unix seconds."""

    command: str
    app: str
    environment: str
    signal: str
    """Its kind."""
    severity: str
    ratio: float
    """Of the run that differed last, to what was usual."""
    summary: str
    owner: str | None
    opened_at: float
    resolved_at: float | None = None
    """None: it goes on."""


class ShownAnomalies:
    """Where they are kept. Safe to share between threads; whoever writes holds the lease."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        keys = Keys(settings.redis.prefix)
        self._key = keys.shown_anomalies
        self._totals = keys.analysis_totals
        self._seconds = holds_seconds(settings)

    def read(self) -> dict[str, ShownAnomaly]:
        """By the id of the incident.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return anomalies(self._redis.hgetall(self._key))

    def write(self, before: Mapping[str, ShownAnomaly], after: Mapping[str, ShownAnomaly]) -> None:
        """Show these from now on, as long as analyses go on.

        Args:
            before: What `read` gave.
            after: At most `MOST_SHOWN`.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        pipeline = self._redis.pipeline()
        for name, one in after.items():
            if before.get(name) != one:
                pipeline.hset(self._key, name, json.dumps(asdict(one), ensure_ascii=False))
        for name in before.keys() - after.keys():
            pipeline.hdel(self._key, name)
        pipeline.expire(self._key, self._seconds)
        pipeline.execute()

    def counted(self) -> int | None:
        """Number of the last event that was counted; None: nobody has begun to.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        found = self._redis.hget(self._totals, _COUNTED)
        return None if found is None else number(found)

    def count(self, before: int | None, until: int, opened: Mapping[str, int]) -> bool:
        """Count incidents that opened, by kind, unless somebody has counted them meanwhile.

        Args:
            before: What `counted` gave.
            until: Number of the last event that is counted now.
            opened: Incidents.

        Returns:
            False: Somebody has.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        given: list[Any] = [self._totals, _COUNTED, "" if before is None else before, until]
        for kind, many in opened.items():
            given += (f"{OPENED}{kind}", many)
        return bool(_SCRIPT.run(self._redis, 1, given))


def anomalies(raw: Mapping[bytes, bytes]) -> dict[str, ShownAnomaly]:
    """Those that can be understood."""
    decoded = ((text(name), _anomaly(body)) for name, body in raw.items())
    return {name: one for name, one in decoded if one is not None}


def opened(totals: Iterable[tuple[bytes, bytes]]) -> dict[str, int]:
    """Incidents that opened so far, by kind, of the fields of ``totals:analysis``."""
    named = ((text(field), value) for field, value in totals)
    return {
        name.removeprefix(OPENED): number(value) for name, value in named if name.startswith(OPENED)
    }


def _anomaly(body: bytes) -> ShownAnomaly | None:
    try:
        said: object = json.loads(body)
        if not isinstance(said, dict):
            return None
        told = cast("dict[str, Any]", said)
        owner, resolved_at = told["owner"], told.get("resolved_at")
        return ShownAnomaly(
            **{name: _plain(told[name]) for name in _TEXTS},
            ratio=float(told["ratio"]),
            owner=None if owner is None else _plain(owner),
            opened_at=_moment(told["opened_at"]),
            resolved_at=None if resolved_at is None else _moment(resolved_at),
        )
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def _plain(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half of a surrogate pair can be told to nobody
    return value


def _moment(value: object) -> float:
    found = unix_time(value)
    if found is None:
        raise ValueError
    return found
