"""Request bodies: read whole before anything else, within a limit of size and time."""

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

_MANY_DIGITS: Final = 20
_CLOSE: Final = {"connection": "close"}


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


class BodyLimit:
    """Answers 413 to a body that is too long, 408 to one that takes too long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
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
