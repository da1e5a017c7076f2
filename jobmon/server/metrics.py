"""``/metrics``, ``/metrics/self`` and ``/metrics/compat``: prints what the collectors yield."""

from __future__ import annotations

import gzip
import re
import time
from http import HTTPStatus
from typing import Final

import redis
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from jobmon.metrics.catalogue import StoreCollector, process_registry, shared
from jobmon.metrics.compat import EXPORTERS
from jobmon.metrics.process import Activity
from jobmon.server.health import Health
from jobmon.server.responses import Style, error, unavailable
from jobmon.settings import Settings
from jobmon.store.reader import Reader

_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")

_OFF: Final = "metrics.compat is false: this page is not served."


class Exposition:
    """Handlers of all."""

    def __init__(
        self, reader: Reader, settings: Settings, activity: Activity, health: Health
    ) -> None:
        self._shared = shared(reader, settings.app)
        self._own = process_registry(activity)
        self._compat = {
            name: StoreCollector(reader, exporter.families)
            for name, exporter in EXPORTERS.items()
            if settings.metrics.compat
        }
        self._reader = reader
        self._activity = activity
        self._health = health

    def shared(self, request: Request) -> Response:
        """What every replica answers alike; 503, never an empty page, without the store."""
        began = time.perf_counter()
        answer = _read(self._shared, request)
        if answer.status_code == HTTPStatus.OK:
            self._activity.collected(time.perf_counter() - began)
        return answer

    def compat(self, request: Request) -> Response:
        """The same under the names of another exporter; 404 while ``metrics.compat`` is off."""
        families = self._compat.get(request.path_params["exporter"])
        if families is None:
            return error(Style.SUCCESS, HTTPStatus.NOT_FOUND, message=_OFF)
        return _read(families, request)

    async def own(self, request: Request) -> Response:
        """This process alone."""
        check = await self._health.redis()
        self._activity.redis_up = check.status == "healthy"
        self._activity.entries_skipped = self._reader.skipped
        # Printed here and not in a thread: all of them may be waiting for a store that hangs.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return _answer(encode(self._own), content_type, request)


def _read(families: StoreCollector, request: Request) -> Response:
    _, content_type = choose_encoder(request.headers.get("accept", ""))
    is_open = content_type.startswith("application/openmetrics-text")
    try:
        page = families.page(openmetrics=is_open)
    except redis.RedisError:
        return unavailable(Style.SUCCESS)
    return _answer(page, content_type, request)


def _answer(page: bytes, content_type: str, request: Request) -> Response:
    headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
    if _GZIP.search(request.headers.get("accept-encoding", "")):
        # Some thousand series are megabytes, nearly all of it repeated; Prometheus asks for this.
        page = gzip.compress(page, compresslevel=1)
        headers["content-encoding"] = "gzip"
    return Response(page, headers=headers)
