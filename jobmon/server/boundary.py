"""The outermost layer: request ids, headers, the access log, and the last answer to an error."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobmon.inert import inert
from jobmon.server import audit
from jobmon.server.dispatch import Dispatch
from jobmon.server.endpoints import Endpoint, endpoint_of, note, style_of
from jobmon.server.principal import NOBODY, principal_of
from jobmon.server.responses import error

_ID: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}

_log: Final = logging.getLogger("jobmon.server")
_access: Final = logging.getLogger("jobmon.access")


class Activity(Protocol):
    """Whoever counts what this process answers."""

    def answered(self, method: str, path: str, status: int) -> None:
        """Count one answer; ``path`` is the endpoint's template, or ``unknown``."""
        ...


class Boundary:
    """Everything comes in and goes out through here."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], activity: Activity) -> None:
        self._app = app
        self._routes = routes
        self._activity = activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(16)
        note(scope, self._endpoint(scope), request_id)
        status = 0
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            _log.exception("%s: request failed", request_id)
            if status:
                raise
            answer = error(style_of(scope), HTTPStatus.INTERNAL_SERVER_ERROR)
            await answer(scope, receive, send_with_headers)
        finally:
            self._report(scope, request_id, status, time.perf_counter() - began)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL and isinstance(route.app, Dispatch):
                return route.app.endpoint
        return None

    def _report(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        endpoint = endpoint_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        path = endpoint.path if endpoint is not None else "unknown"
        self._activity.answered(method, path, status)
        if audit.is_change(scope) and principal_of(scope) is not NOBODY:
            audit.record(scope, status)
        client = scope.get("client")
        facts: dict[str, object] = {
            "method": inert(scope["method"], 16),
            "path": inert(scope["path"]),
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "client": client[0] if client else "",
            "token": principal_of(scope).name,
            "request_id": request_id,
        }
        quiet = endpoint is not None and endpoint.quiet and status < HTTPStatus.BAD_REQUEST
        _access.log(
            logging.DEBUG if quiet else logging.INFO,
            "%(method)s %(path)s %(status)d in %(milliseconds).1f ms, client %(client)s, "
            "token %(token)s, request %(request_id)s",
            {**facts, "client": facts["client"] or "-", "token": facts["token"] or "-"},
            extra={"facts": facts},
        )
