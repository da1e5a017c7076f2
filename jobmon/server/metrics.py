"""``/metrics`` and ``/metrics/self``: prints what the collectors yield."""

from __future__ import annotations

import gzip
import re
import time
from typing import Final

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

_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


class Exposition:
    """Handlers of both."""

    def __init__(
        self, reader: Reader, settings: Settings, activity: Activity, health: Health
    ) -> None:
        self._shared = store_registry(reader, settings.app)
        self._own = process_registry(activity)
        self._reader = reader
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
        self._activity.redis_up = check.status == "healthy"
        self._activity.entries_skipped = self._reader.skipped
        # Printed here and not in a thread: all of them may be waiting for a store that hangs.
        return _printed(self._own, request)


def _printed(registry: CollectorRegistry, request: Request) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    page = encode(registry)
    headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
    if _GZIP.search(request.headers.get("accept-encoding", "")):
        # Some thousand series are megabytes, nearly all of it repeated; Prometheus asks for this.
        page = gzip.compress(page, compresslevel=1)
        headers["content-encoding"] = "gzip"
    return Response(page, headers=headers)
