"""The server's application in this process, where a live one could not be put in the situation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from starlette.middleware import Middleware
from starlette.requests import Request

from jobmon.metrics.process import Activity
from jobmon.server.app import assemble
from jobmon.server.endpoints import Action, Endpoint
from jobmon.server.layers import layers
from jobmon.server.meter import Meter
from jobmon.server.responses import Style
from jobmon.settings import Settings, load


def configured(**settings: object) -> Settings:
    """Settings from keyword arguments, ``__`` for the dot, and defaults."""
    return load({name.replace("__", "."): value for name, value in settings.items()}, environ={})


def answer(request: Request) -> dict[str, Any]:
    """What every endpoint of these tests answers: what reached it."""
    client = request.client.host if request.client else None
    scheme, host = request.url.scheme, request.headers["host"]
    return {"client": client, "scheme": scheme, "host": host}


def action(handler: Callable[..., object] = answer, permission: Any = None, **more: Any) -> Action:
    """One that answers with a JSON object."""
    declared: dict[str, Any] = {"summary": "A test's", "answer": dict[str, Any], **more}
    return Action(handler, permission, **declared)


ENDPOINTS = (
    Endpoint(
        "/things/{id}",
        Style.STATUS,
        {"GET": action(permission="read"), "POST": action(permission="operate")},
    ),
    Endpoint("/open", Style.SUCCESS, {"GET": action(permission="read")}, anonymous=True),
    Endpoint("/probe", Style.SUCCESS, {"GET": action()}),
)


class Application:
    """Endpoints behind the layers that settings ask for."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
        stack: Sequence[Middleware] | None = None,
        meter: Meter | None = None,
    ) -> None:
        if stack is None:
            stack = layers(settings, meter)
        self.app = assemble(endpoints, settings, stack, Activity())

    def request(
        self,
        method: str,
        path: str,
        *,
        base: str = "http://127.0.0.1:8765",
        client: str = "127.0.0.1",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        **more: Any,
    ) -> httpx.Response:
        """Send one request; ``base`` is where the server's own socket is."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(client, 1234)
            )
            async with httpx.AsyncClient(transport=transport, base_url=base) as http:
                return await http.request(method, path, headers=headers, **more)

        return asyncio.run(send())
