"""The server's own clock, by which versions, leases and silence are judged."""

from __future__ import annotations

from typing import Any


def has_passed(interval_seconds: float, now: float, before: float) -> bool:
    """Whether so much time has passed since a moment, in Unix seconds.

    A clock that was set back makes nobody wait for it.
    """
    passed = now - before
    return passed >= interval_seconds or passed < 0


def now_us(client: Any) -> int:
    """Unix time in µs.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    seconds, micros = client.time()
    return seconds * 1_000_000 + micros
