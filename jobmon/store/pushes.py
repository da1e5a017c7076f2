"""What is being pushed onto queues again, told before it happens, so that a crash can be judged.

A claim in the history says who may push; this says how far it came. One hash per claim, in which
each job has a word of its own, written once: the first word stands.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from jobmon.store.keys import Keys
from jobmon.store.totals import text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_SINCE: Final = "since"
_PUSHING: Final = b"pushing"
_GIVEN_UP: Final = b"given up"


class Came(Enum):
    """How far the holder of a claim came with a job."""

    NOWHERE = "nowhere"
    """It has not begun to push, and cannot any more."""
    FAR = "far"
    """It had begun; whether it pushed is not known."""
    UNKNOWN = "unknown"
    """The store has lost what was said of the claim."""


class Pushes:
    """What is told of each claim. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._keys = Keys(settings.redis.prefix)
        self._life_seconds = settings.failed_ttl

    def open(self, token: str, now_us: int) -> None:
        """Tell of a claim, before it is made.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        key = self._keys.pushes(token)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, _SINCE, now_us)
            pipeline.pexpire(key, self._life_seconds * 1000)
            pipeline.zadd(self._keys.claims, {token: now_us})
            pipeline.execute()

    def older_than(self, moment_us: int) -> list[str]:
        """Tokens of claims that were told of before a moment, and that nobody has closed.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        found = self._redis.zrangebyscore(self._keys.claims, "-inf", f"({moment_us}")
        return [text(one) for one in found]

    def begin(self, token: str, process_id: str, job_id: str) -> bool:
        """The last word before the push; False: somebody else has taken the job over.

        Raises:
            redis.RedisError: The store cannot be asked: nothing may be pushed.
        """
        member = f"{process_id}/{job_id}"
        return bool(self._redis.hsetnx(self._keys.pushes(token), member, _PUSHING))

    def take_over(self, token: str, process_id: str, job_id: str) -> Came:
        """How far a holder came that has been silent for too long, which it may not go on from.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        key, member = self._keys.pushes(token), f"{process_id}/{job_id}"
        if not self._redis.hexists(key, _SINCE):
            return Came.UNKNOWN
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(key, member, _GIVEN_UP)
            pipeline.hget(key, member)
            _, word = pipeline.execute()
        return Came.FAR if word == _PUSHING else Came.NOWHERE

    def leave(self, token: str) -> None:
        """List a claim no more; what was told of it is kept for whoever asks about its jobs.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        self._redis.zrem(self._keys.claims, token)

    def close(self, token: str) -> None:
        """Forget a claim that nobody holds any more.

        Raises:
            redis.RedisError: The store cannot be asked. It is forgotten in its time.
        """
        self._redis.delete(self._keys.pushes(token))
        self.leave(token)
