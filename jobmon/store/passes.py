"""Passes of the sync, as the servers tell one another: when they were, and what they copied.

When the next one is due follows from the last one, whoever made it, so that each happens once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.store import script
from jobmon.store.clock import has_passed
from jobmon.store.keys import LEADER, SCHEMA_VERSION, SYNC, Keys
from jobmon.store.totals import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from jobmon.settings import Settings

_SCRIPT: Final = script.read("passes.lua")


class Passes:
    """What is known of them. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        names = self._names = Keys(settings.redis.prefix)
        self._keys = (names.meta, names.lease(LEADER), names.lease(SYNC), names.sync_totals)

    def due(self, interval_seconds: float) -> bool:
        """Whether that time has passed since the last one began, or whether it has broken off.

        One that goes on is taken for broken off: whoever asks holds the lease, or will ask for it.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hmget(self._names.sync_totals, "began_ms", "ended_ms")
        (seconds, micros), (began, ended) = pipeline.execute()
        if began is None or ended is None:
            return True
        return has_passed(interval_seconds, seconds + micros / 1_000_000, number(began) / 1000)

    def begin(self, token: int) -> bool:
        """One begins; False: no lease has the token.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run(token, "begin")

    def copied(self, token: int, rows: Mapping[str, int]) -> bool:
        """Count rows by the table that they were copied into; False: no lease has the token.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        some = {table: count for table, count in rows.items() if count}
        return not some or self._run(token, "copied", 0, some)

    def end(self, token: int, seconds: float, *, success: bool) -> bool:
        """It has ended; False: no lease has the token.

        Args:
            token: Of the lease.
            seconds: How long it took.
            success: Whether all that was marked when it began was copied.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run(token, "success" if success else "end", round(seconds * 1_000_000))

    def _run(
        self, token: int, what: str, micros: int = 0, rows: Mapping[str, int] | None = None
    ) -> bool:
        arguments: list[Any] = [SCHEMA_VERSION, token, what, micros]
        for table, count in (rows or {}).items():
            arguments += (table, count)
        return _SCRIPT.run(self._redis, len(self._keys), [*self._keys, *arguments]) > 0
