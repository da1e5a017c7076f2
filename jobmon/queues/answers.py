"""What a pipeline of Redis answers."""

from __future__ import annotations

from typing import Any

import redis


def told(pipeline: Any) -> list[Any]:
    """Its answers; None where a key holds something else than was asked for.

    Raises:
        redis.RedisError: Redis does not answer, or refuses.
    """
    found: list[Any] = pipeline.execute(raise_on_error=False)
    for one in found:
        if isinstance(one, redis.RedisError) and not str(one).startswith("WRONGTYPE"):
            raise one
    return [None if isinstance(one, redis.RedisError) else one for one in found]
