"""``/metrics``, ``/metrics/self`` and ``/metrics/compat``: prints what the collectors yield."""

from __future__ import annotations

import gzip
import re
import time
from http import HTTPStatus
from typing import Any, Final

import redis
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
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

_OPENMETRICS: Final = "application/openmetrics-text"
_NONE_OF_IT: Final = re.compile(r"q\s*=\s*0(\.0*)?")
_CONTENT_TYPES: Final = {
    True: f"{_OPENMETRICS}; version=1.0.0; charset=utf-8",
    False: "text/plain; version=0.0.4; charset=utf-8",
}
"""Of OpenMetrics, and of Prometheus' text format."""

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
        is_open = takes_openmetrics(request.headers.get("accept", ""))
        form: Any = openmetrics if is_open else exposition
        return _answer(form.generate_latest(self._own), _CONTENT_TYPES[is_open], request)


def takes_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is among what is asked for, in whichever version.

    ``prometheus_client`` compares versions, and raises for what is none.
    """
    for one in accept.lower().split(","):
        kind, *parameters = map(str.strip, one.split(";"))
        if kind == _OPENMETRICS and not any(map(_NONE_OF_IT.fullmatch, parameters)):
            return True
    return False


def _read(families: StoreCollector, request: Request) -> Response:
    is_open = takes_openmetrics(request.headers.get("accept", ""))
    try:
        page = families.page(openmetrics=is_open)
    except redis.RedisError:
        return unavailable(Style.SUCCESS)
    return _answer(page, _CONTENT_TYPES[is_open], request)


def _answer(page: bytes, content_type: str, request: Request) -> Response:
    headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
    if _GZIP.search(request.headers.get("accept-encoding", "")):
        # Some thousand series are megabytes, nearly all of it repeated; Prometheus asks for this.
        page = gzip.compress(page, compresslevel=1)
        headers["content-encoding"] = "gzip"
    return Response(page, headers=headers)
