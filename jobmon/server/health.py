"""``health``: whether what jobmon depends on works, within a bounded time."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from starlette.requests import Request
from starlette.responses import Response

from jobmon.server.auth import principal_of
from jobmon.server.responses import JSON, Style, error, timestamp
from jobmon.settings import Settings
from jobmon.store import connection

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE_SECONDS: Final = 1.0

_CONNECTION_FAILED: Final = "Connection failed"
_TIMED_OUT: Final = "Timed out"

Check = dict[str, object]


class Health:
    """Handler of ``health``. Answers of many callers within a second share one check."""

    def __init__(self, settings: Settings) -> None:
        self._enabled = settings.health_check.enabled
        self._timeout = settings.health_check.redis_timeout
        self._client = connection.connect(settings, timeout=self._timeout)
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._redis: Check = {}

    async def answer(self, request: Request) -> Response:
        """200 when nothing is unhealthy, otherwise 503; a stranger sees states alone."""
        if not self._enabled:
            return error(Style.SUCCESS, HTTPStatus.NOT_FOUND)
        checks: dict[str, Check] = {
            "redis": await self.redis(),
            "database": {"status": "skipped"},
            "metrics_freshness": {"status": "skipped"},
        }
        healthy = all(check["status"] != "unhealthy" for check in checks.values())
        if not principal_of(request.scope).may("read"):
            checks = {name: {"status": check["status"]} for name, check in checks.items()}
        data: Mapping[str, object] = {
            "status": "healthy" if healthy else "unhealthy",
            "timestamp": timestamp(time.time()),
            "checks": checks,
        }
        status = HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return JSON({"success": healthy, "data": data}, status_code=status)

    async def redis(self) -> Check:
        """What Redis answers to a PING, at most a second old."""
        async with self._lock:
            if time.monotonic() - self._checked_at > CACHE_SECONDS:
                self._redis = await self._ping()
                self._checked_at = time.monotonic()
            return dict(self._redis)

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()

    async def _ping(self) -> Check:
        began = time.perf_counter()
        try:
            # Connecting and reading may each take the timeout, resolving a name any time: the
            # caller waits for one timeout, the thread ends by itself.
            await asyncio.wait_for(asyncio.to_thread(self._ask), self._timeout)
        except (TimeoutError, redis.TimeoutError):
            return {"status": "unhealthy", "message": _TIMED_OUT}
        except redis.RedisError:
            return {"status": "unhealthy", "message": _CONNECTION_FAILED}
        return {"status": "healthy", "response_time": round(time.perf_counter() - began, 4)}

    def _ask(self) -> None:
        cast("Any", self._client).ping()
