"""From a routed request to its answer: method, permission, handler, errors, in this order."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from http import HTTPStatus
from typing import Final, cast

import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobmon.errors import Unavailable
from jobmon.server.endpoints import Endpoint, Handler, request_id_of, style_of
from jobmon.server.principal import principal_of
from jobmon.server.responses import Style, error, unavailable
from jobmon.server.threads import LONGEST_SECONDS, in_thread

_log: Final = logging.getLogger("jobmon.server")


class Dispatch:
    """The ASGI application of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        endpoint = self.endpoint
        action = endpoint.action(request.method)
        if action is None:
            allow = {"allow": endpoint.allow}
            return error(endpoint.style, HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
        needed = None if endpoint.anonymous else action.permission
        if needed is not None and not principal_of(request.scope).may(needed):
            return error(endpoint.style, HTTPStatus.FORBIDDEN)
        try:
            return await _call(action.handler, request)
        except (redis.RedisError, Unavailable) as trouble:
            # Its text may hold an address: only the class is logged.
            what = "database" if isinstance(trouble, Unavailable) else "store"
            request_id = request_id_of(request.scope)
            _log.warning("%s: %s: %s", request_id, what, type(trouble).__name__)
            return self._without_store()
        except TimeoutError:
            _log.warning("%s: given up after its time", request_id_of(request.scope))
            return unavailable(endpoint.style)
        except Exception:
            _log.exception("%s: request failed", request_id_of(request.scope))
            return self._broken()

    def _without_store(self) -> Response:
        if self.endpoint.style is Style.SUCCESS and self.endpoint.failure:
            return self._broken()
        return unavailable(self.endpoint.style)

    def _broken(self) -> Response:
        endpoint = self.endpoint
        message = endpoint.failure if endpoint.style is Style.SUCCESS else ""
        return error(endpoint.style, HTTPStatus.INTERNAL_SERVER_ERROR, message=message)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind every path that is no endpoint."""
    if scope["type"] == "http":
        await error(style_of(scope), HTTPStatus.NOT_FOUND)(scope, receive, send)


async def _call(handler: Handler, request: Request) -> Response:
    if inspect.iscoroutinefunction(handler):
        async with asyncio.timeout(LONGEST_SECONDS):
            return cast(Response, await handler(request))
    return cast(Response, await in_thread(partial(handler, request)))
