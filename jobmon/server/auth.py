"""Who asks: bearer tokens, their scopes, and what is allowed without any.

Tokens are configured as ``name:scope:sha256:<hex>``; the server never holds a token itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, cast

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.server.endpoints import Permission, endpoint_of, style_of
from jobmon.server.responses import error
from jobmon.settings import Settings, Token

GRANTS: Final[dict[Permission, frozenset[Permission]]] = {
    "read": frozenset({"read", "metrics"}),
    "operate": frozenset({"read", "operate", "metrics"}),
    "metrics": frozenset({"metrics"}),
}
"""What a token of each scope may do; ``/metrics`` tells nothing that is hidden from a reader."""

_PRINCIPAL: Final = "jobmon.principal"
_LONGEST_TOKEN: Final = 512
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="jobmon"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sent a request."""

    name: str
    """The token's; empty for somebody unknown."""
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        """Whether the request may do this."""
        return permission in self.permissions


NOBODY: Final = Principal("", frozenset())
_LOCAL: Final = Principal("", GRANTS["operate"])
_ANYONE: Final = Principal("", GRANTS["read"])


def principal_of(scope: Scope) -> Principal:
    """Whoever sent this request, as an authentication layer found out."""
    found = scope.get(_PRINCIPAL)
    return found if isinstance(found, Principal) else NOBODY


class Authentication:
    """Answers 401 to whoever is not known, unless the endpoint needs nobody to be."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._tokens = settings.auth.tokens
        self._anyone_may_read = settings.auth.allow_unauthenticated
        self._on_unix_socket = bool(settings.listen.path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            principal = self._by_token(scope) if self._tokens else self._without_tokens(scope)
            if principal is None and not _open_to_all(scope):
                answer = error(style_of(scope), HTTPStatus.UNAUTHORIZED, headers=_CHALLENGE)
                await answer(scope, receive, send)
                return
            scope[_PRINCIPAL] = principal or NOBODY
        await self._app(scope, receive, send)

    def _by_token(self, scope: Scope) -> Principal | None:
        given = Headers(scope=scope).getlist("authorization")
        if not given:
            endpoint = endpoint_of(scope)
            return NOBODY if endpoint is not None and endpoint.anonymous else None
        scheme, _, token = given[0].partition(" ")
        token = token.strip(" ")
        if len(given) > 1 or scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST_TOKEN:
            return None
        digest = hashlib.sha256(token.encode("latin-1")).hexdigest()
        found: Token | None = None
        for known in self._tokens:
            # All are compared, so that the time it takes tells nothing about any of them.
            if hmac.compare_digest(known.sha256, digest) and found is None:
                found = known
        return Principal(found.name, GRANTS[found.scope]) if found is not None else None

    def _without_tokens(self, scope: Scope) -> Principal | None:
        """No token is configured: this machine may do everything, others read if allowed.

        ``serve`` refuses to listen elsewhere; this holds also under another ASGI server.
        """
        if self._anyone_may_read:
            return _ANYONE
        return _LOCAL if self._reached_locally(scope) else None

    def _reached_locally(self, scope: Scope) -> bool:
        """Whether a loopback address or a Unix socket took the connection."""
        server = cast("Sequence[str | int | None] | None", scope.get("server"))
        if server is None:
            return self._on_unix_socket
        host, port = server[0], server[1]
        if port is None:
            return True
        try:
            return ip_address(str(host)).is_loopback
        except ValueError:
            return False


def _open_to_all(scope: Scope) -> bool:
    endpoint = endpoint_of(scope)
    action = endpoint.action(scope["method"]) if endpoint is not None else None
    return action is not None and action.permission is None
