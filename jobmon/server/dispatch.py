"""From a routed request to its answer: method, permission, body, parameters, handler, errors."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jobmon.errors import Unavailable
from jobmon.server.endpoints import Action, Endpoint, Message, Reply, request_id_of, style_of
from jobmon.server.principal import principal_of
from jobmon.server.query import InvalidError, Query, parse, parse_body, path_values
from jobmon.server.responses import (
    JSON,
    Style,
    encoded,
    enveloped,
    error,
    invalid,
    sentence,
    unavailable,
)
from jobmon.server.sharing import Sharing
from jobmon.server.threads import in_thread

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})
_log: Final = logging.getLogger("jobmon.server")


class Dispatch:
    """The ASGI application of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._shared = Sharing[Response]()

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
        problem = await _problem_of_body(request)
        if problem is not None:
            return error(endpoint.style, problem)
        path: dict[str, str] = request.path_params
        values = path_values(path)
        if values is None:
            return self._missing(action, path)
        request.scope["path_params"] = values
        given: list[Query] = []
        try:
            if action.query is not None:
                given.append(parse(action.query, request.scope["query_string"]))
            if action.body is not None:
                given.append(parse_body(action.body, await request.body()))
        except InvalidError as refused:
            return invalid(endpoint.style, refused.errors)
        try:
            return await self._call(action, request, given)
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

    async def _call(self, action: Action, request: Request, given: Sequence[Query]) -> Response:
        arguments = (request, *given)
        if inspect.iscoroutinefunction(action.handler):
            async with asyncio.timeout(action.longest_seconds):
                return self._written(action, request, await action.handler(*arguments))

        async def answer() -> Response:
            return await in_thread(
                lambda: self._written(action, request, action.handler(*arguments)),
                action.longest_seconds,
            )

        if request.method not in _WITHOUT_BODY:
            return await answer()
        async with asyncio.timeout(action.longest_seconds):
            return await self._shared.read(_asked(request), answer)

    def _written(self, action: Action, request: Request, given: object) -> Response:
        """The one place where answers become bytes."""
        if isinstance(given, Response):
            return given
        if given is None and action.has_data:
            return self._missing(action, request.path_params)
        if isinstance(given, Message):
            return sentence(given.text)
        reply = given if isinstance(given, Reply) else Reply(given)
        data = encoded(reply.data, action.adapter) if action.has_data else None
        succeeded = reply.status < HTTPStatus.BAD_REQUEST
        body = enveloped(self.endpoint.style, data, succeeded=succeeded)
        return JSON(body, status_code=reply.status, headers=reply.headers)

    def _missing(self, action: Action, path: Mapping[str, str]) -> Response:
        message = action.not_found.format_map(path)
        return error(self.endpoint.style, HTTPStatus.NOT_FOUND, message=message)

    def _without_store(self) -> Response:
        if self.endpoint.style is Style.SUCCESS and self.endpoint.failure:
            return self._broken()
        return unavailable(self.endpoint.style)

    def _broken(self) -> Response:
        endpoint = self.endpoint
        message = endpoint.failure if endpoint.style is Style.SUCCESS else ""
        return error(endpoint.style, HTTPStatus.INTERNAL_SERVER_ERROR, message=message)


def _asked(request: Request) -> tuple[object, ...]:
    """All that an answer depends on: who asks, what for, and by which address."""
    scope, headers = request.scope, request.headers
    return (
        principal_of(scope),
        *(scope["method"], scope["path"], scope["query_string"]),
        *(scope["scheme"], scope.get("root_path", ""), headers.get("host")),
        *(headers.get(name) for name in ("accept", "accept-encoding", "if-none-match")),
    )


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind every path that is no endpoint."""
    if scope["type"] == "http":
        await error(style_of(scope), HTTPStatus.NOT_FOUND)(scope, receive, send)


async def _problem_of_body(request: Request) -> HTTPStatus | None:
    """What is wrong with the body of a method that may have one."""
    if request.method in _WITHOUT_BODY:
        return None
    body = await request.body()
    if not body:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON.media_type:
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return HTTPStatus.BAD_REQUEST
    return None
