"""Threads for handlers: as many as bearable, and none of them is waited for longer than allowed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

MOST: Final = 40
LONGEST_SECONDS: Final = 30.0
"""For which an answer is waited for, if its action does not say otherwise."""

_pool: Final = ThreadPoolExecutor(MOST, "jobmon-handler")


async def in_thread(work: Callable[[], T], longest_seconds: float) -> T:
    """What ``work`` returns or raises.

    Args:
        work: Called in a thread.
        longest_seconds: For which it is waited for.

    Raises:
        TimeoutError: It takes too long, or waits too long for a thread. One that works already
            goes on to its end, and is free only then.
    """
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(longest_seconds):
        return await loop.run_in_executor(_pool, context.run, work)
