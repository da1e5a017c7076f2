"""When all commands were judged last, as the servers tell one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobmon.store.clock import has_passed, now_us
from jobmon.store.keys import Keys
from jobmon.store.totals import number

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_BEGAN: Final = "began_ms"
_INTERVALS: Final = 3
"""Without an analysis, after which what the last one said holds no longer."""
_LEAST_SECONDS: Final = 3600


def holds_seconds(settings: Settings) -> int:
    """For which what an analysis said holds, unless another one says it again.

    Else what was open when analyses ended would go on for ever: nobody else closes it.
    """
    interval_seconds = settings.analyze_mode.analysis_interval_minutes * 60
    return max(_LEAST_SECONDS, _INTERVALS * interval_seconds)


class Analyses:
    """What is known of them. Safe to share between threads; whoever writes holds the lease."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._key = Keys(settings.redis.prefix).analysis_totals

    def due(self, interval_seconds: float) -> bool:
        """Whether that time has passed since the last one began.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        began = self._redis.hget(self._key, _BEGAN)
        if began is None:
            return True
        return has_passed(interval_seconds, now_us(self._redis) / 1e6, number(began) / 1e3)

    def begin(self) -> None:
        """One begins.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        self._redis.hset(self._key, _BEGAN, now_us(self._redis) // 1000)
