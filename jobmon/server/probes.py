"""``/livez`` and ``/readyz``: this process answers, and its configuration is valid.

Neither asks Redis: without it the API still answers, in JSON, what it can.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.responses import JSON


# A coroutine, so that it is answered while every thread waits for a store that hangs.
async def alive(_request: Request) -> Response:
    """The event loop turns. An invalid configuration ends the process before it listens."""
    return JSON({"success": True})
