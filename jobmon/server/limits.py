"""The rate limit: how much one client may ask, told in headers; 429 beyond."""

from __future__ import annotations

import math
import time
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobmon.server.endpoints import endpoint_of, style_of
from jobmon.server.meter import Meter
from jobmon.server.principal import principal_of
from jobmon.server.responses import error
from jobmon.settings import Settings
from jobmon.store.buckets import Level, Size, Wish

_NETWORK_BITS: Final = 64
"""Of an IPv6 address; who has one has all that begin alike."""


class RateLimit:
    """Answers 429 to a user, or without one an address, that asks for more than its bucket holds.

    Probes and ``/metrics`` cost nothing. What is not found costs as much as what is.
    """

    def __init__(self, app: ASGIApp, settings: Settings, meter: Meter) -> None:
        self._app = app
        limits = settings.rate_limiting
        self._size = Size(limits.requests_per_minute, limits.burst_limit)
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cost = _cost(scope) if scope["type"] == "http" else 0
        if not cost:
            await self._app(scope, receive, send)
            return
        name = principal_of(scope).name
        who = f"user:{name}" if name else f"address:{address(scope)}"
        level = await self._meter.take(Wish("api", who, self._size, cost))
        if not level.granted:
            await too_many(scope, self._size, level)(scope, receive, send)
            return
        told = _told(self._size, level.remaining)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def too_many(scope: Scope, size: Size, level: Level) -> Response:
    """429: what a bucket of that size allows, and when to come back."""
    headers = {
        **_told(size, 0),
        "retry-after": str(max(1, math.ceil(level.wait_seconds))),
        "x-ratelimit-reset": str(math.ceil(time.time() + level.wait_seconds)),
    }
    return error(style_of(scope), HTTPStatus.TOO_MANY_REQUESTS, headers=headers)


def _told(size: Size, remaining: int) -> dict[str, str]:
    return {"x-ratelimit-limit": str(size.per_minute), "x-ratelimit-remaining": str(remaining)}


def address(scope: Scope) -> str:
    """Whom the client counts as: its address, of IPv6 its network; empty on a Unix socket."""
    client = scope.get("client")
    if not client:
        return ""
    try:
        found = ip_address(client[0])
    except ValueError:
        return str(client[0])[:255]
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Network((found, _NETWORK_BITS), strict=False))
    return str(found)


def _cost(scope: Scope) -> int:
    """Tokens that a request costs; 1 where nothing answers it."""
    endpoint = endpoint_of(scope)
    action = endpoint.action(scope["method"]) if endpoint is not None else None
    return action.cost if action is not None else 1
