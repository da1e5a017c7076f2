"""``/metrics`` and ``/metrics/self``: prints what the collectors yield."""

from __future__ import annotations

import time

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from jobmon.metrics.catalogue import process_registry, store_registry
from jobmon.metrics.process import Activity
from jobmon.server.health import Health
from jobmon.server.responses import Style, unavailable
from jobmon.settings import Settings
from jobmon.store.reader import Reader


class Exposition:
    """Handlers of both."""

    def __init__(
        self, reader: Reader, settings: Settings, activity: Activity, health: Health
    ) -> None:
        self._shared = store_registry(reader, settings.app)
        self._own = process_registry(activity)
        self._activity = activity
        self._health = health

    def shared(self, request: Request) -> Response:
        """What every replica answers alike; 503, never an empty page, without the store."""
        began = time.perf_counter()
        try:
            answer = _printed(self._shared, request)
        except redis.RedisError:
            return unavailable(Style.SUCCESS)
        self._activity.collected(time.perf_counter() - began)
        return answer

    async def own(self, request: Request) -> Response:
        """This process alone."""
        check = await self._health.redis()
        self._activity.redis_up = check["status"] == "healthy"
        # Printed here and not in a thread: all of them may be waiting for a store that hangs.
        return _printed(self._own, request)


def _printed(registry: CollectorRegistry, request: Request) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})
