"""Pages in browsers: which of other sites may read, and that none of them changes anything."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobmon.inert import inert

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}
_ALLOWED: Final = {
    "access-control-allow-methods": "GET, HEAD, POST, DELETE",
    "access-control-allow-headers": "Authorization, Content-Type, X-Request-Id",
    "access-control-max-age": "600",
}
_EXPOSED: Final = (
    "Link, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-Request-Id, X-Total-Count"
)

_log: Final = logging.getLogger("jobmon.server")


def is_cross_site(scope: Scope, public_url: str | None) -> bool:
    """Whether a browser sends this for a page that is not ours, to change something.

    What says nothing of a page, as programs do not, is none.
    """
    if scope["method"] in SAFE_METHODS:
        return False
    headers = Headers(scope=scope)
    # Of headers that come twice, all must be right: a proxy may have added one.
    sites = headers.getlist("sec-fetch-site")
    if sites:
        foreign = any(site != "same-origin" for site in sites)
    else:
        own = {_origin(scope["scheme"], headers.get("host", ""))}
        if public_url is not None:
            parts = urlsplit(public_url)
            own.add(_origin(parts.scheme, parts.netloc))
        foreign = any(origin not in own for origin in headers.getlist("origin"))
    if foreign:
        _log.info("refused a change that a page of %s sent", inert(headers.get("origin", "-")))
    return foreign


class Cors:
    """Lets pages of ``cors.origins`` read answers; credentials of browsers are not for them."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        is_allowed = origin in self._origins
        asked = scope["method"] == "OPTIONS" and "access-control-request-method" in headers

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.add_vary_header("Origin")
                if is_allowed:
                    answered["access-control-allow-origin"] = origin
                    answered["access-control-expose-headers"] = _EXPOSED
            await send(message)

        if asked and is_allowed:
            await Response(status_code=204, headers=_ALLOWED)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def _origin(scheme: str, host: str) -> str:
    """As browsers write it."""
    return f"{scheme}://{host.lower().removesuffix(_USUAL_PORTS.get(scheme, ' '))}"
