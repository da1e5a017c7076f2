"""How many requests are in work at once; further ones are told to come back."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.server import probes
from jobmon.server.endpoints import endpoint_of, style_of
from jobmon.server.responses import unavailable

MOST_AT_ONCE: Final = 256


class Crowd:
    """Answers 503 beyond `MOST_AT_ONCE`, but to probes never.

    It comes after the bodies are read: whoever sends one slowly keeps nobody else out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_probe(scope):
            await self._app(scope, receive, send)
            return
        if self._in_work >= MOST_AT_ONCE:
            await unavailable(style_of(scope))(scope, receive, send)
            return
        self._in_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_work -= 1


def _is_probe(scope: Scope) -> bool:
    endpoint = endpoint_of(scope)
    return endpoint is not None and endpoint.path in probes.PATHS
