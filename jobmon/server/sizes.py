"""How large a request may be: its headers, and its body, which is read before anything else."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobmon.server.endpoints import style_of
from jobmon.server.responses import error

MOST_BYTES: Final = 64 * 1024
READ_SECONDS: Final = 10.0
MOST_HEADER_BYTES: Final = 16 * 1024
"""Of address and headers. A server limits those that come in pieces, and not all at once."""

_MANY_DIGITS: Final = 20
_CLOSE: Final = {"connection": "close"}


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


class SizeLimit:
    """Answers 400 to headers that are too long, 413 to such a body, 408 to one that is too slow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _head_bytes(scope) > MOST_HEADER_BYTES:
            await error(style_of(scope), HTTPStatus.BAD_REQUEST)(scope, receive, send)
            return
        try:
            if _declared(scope) > MOST_BYTES:
                raise _TooLargeError
            async with asyncio.timeout(READ_SECONDS):
                body = await _read(receive)
        except _GoneError:
            return
        except (_TooLargeError, TimeoutError) as refused:
            status = (
                HTTPStatus.REQUEST_TIMEOUT
                if isinstance(refused, TimeoutError)
                else HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            )
            await error(style_of(scope), status, headers=_CLOSE)(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


def _head_bytes(scope: Scope) -> int:
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return headers + len(scope["path"]) + len(scope.get("query_string", b""))


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal():
        return 0
    # Python refuses to convert numbers of some thousand digits.
    return int(length) if len(length) < _MANY_DIGITS else MOST_BYTES + 1


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)
