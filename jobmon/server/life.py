"""Begin and end of what runs behind the application, also where a host runs no lifespan for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send


class Life:
    """Once begun, once ended."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Make it.

        Args:
            begin: Called with the lifespan, or without one with the first request.
            end: Called at the end of the lifespan. Without one everything ends with the process,
                which it can at any moment.
        """
        self._begin = begin
        self._end = end
        self._lock = threading.Lock()
        self.has_begun = False

    def begin(self) -> None:
        """Begin, unless it has."""
        with self._lock:
            if not self.has_begun:
                self.has_begun = True
                self._begin()

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncGenerator[None]:
        """For a server, or for the host's own lifespan."""
        self.begin()
        try:
            yield
        finally:
            await asyncio.to_thread(self._end)


class Awakening:
    """Begins with the first request that is let in.

    Starlette and FastAPI run no lifespan of what they mount.
    """

    def __init__(self, app: ASGIApp, life: Life) -> None:
        self._app = app
        self._life = life

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._life.has_begun:
            self._life.begin()
        await self._app(scope, receive, send)
