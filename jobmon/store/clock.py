"""The server's own clock, by which versions, leases and silence are judged."""

from __future__ import annotations

from typing import Any


def now_us(client: Any) -> int:
    """Unix time in µs.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    seconds, micros = client.time()
    return seconds * 1_000_000 + micros
