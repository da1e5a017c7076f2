"""``/livez`` and ``/readyz``: this process answers, and what it needs once is done.

Neither asks Redis or the database: without them the API still answers, in JSON, what it can. An
invalid configuration ends the process before it listens.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

PATHS: Final = ("/livez", "/readyz")
"""The second is `Migration.ready`."""


# A coroutine, so that it is answered while every thread waits for a store that hangs.
async def alive(_request: Request) -> None:
    """``/livez``: the event loop turns."""
