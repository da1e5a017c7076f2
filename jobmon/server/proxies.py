"""What a trusted proxy says about the client: address, scheme, host and user."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.settings import Settings


class Proxies:
    """Believes ``X-Forwarded-For``, ``-Proto`` and ``-Host`` of ``trusted_proxies``, else none.

    From anybody else it takes away the header that names a user.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._trusted = settings.trusted_proxies
        self._user_header = (settings.auth.proxy_header or "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            if client and _is_in(client[0], self._trusted):
                self._believe(scope)
            elif self._user_header:
                kept = [one for one in scope["headers"] if one[0].lower() != self._user_header]
                scope["headers"] = kept
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hops = [hop.strip() for hop in ",".join(headers.getlist("x-forwarded-for")).split(",")]
        # From the right: each proxy appends whom it saw; the first that is no proxy of ours counts.
        for hop in reversed(hops):
            if not is_address(hop):
                break
            scope["client"] = (hop, 0)
            if not _is_in(hop, self._trusted):
                break
        scheme = headers.get("x-forwarded-proto", "").lower()
        if scheme in ("http", "https"):
            scope["scheme"] = scheme
        host = headers.get("x-forwarded-host", "")
        if host:
            MutableHeaders(scope=scope)["host"] = host


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, written as usual."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(text: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)
