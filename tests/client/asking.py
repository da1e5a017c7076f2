"""Both clients behind one face, so that each test holds for each of them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx

from jobmon.client import AsyncClient, Client

Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")


class Asking:
    """A client of one kind; methods are called by name, what is iterated comes as a list."""

    def __init__(self, kind: Kind, url: str, **options: Any) -> None:
        self._kind = kind
        self._url = url
        self._options = options
        self.sent: list[httpx.Request] = []

    def __call__(self, method: str, *given: Any, **named: Any) -> Any:
        self.sent.clear()
        if self._kind == "async":
            return asyncio.run(self._answered(method, *given, **named))
        http = httpx.Client(event_hooks={"request": [self.sent.append]})
        with http, Client(self._url, http=http, **self._options) as client:
            found = getattr(client, method)(*given, **named)
            return list(found) if inspect.isgenerator(found) else found

    async def _answered(self, method: str, *given: Any, **named: Any) -> Any:
        async def sends(request: httpx.Request) -> None:
            self.sent.append(request)

        http = httpx.AsyncClient(event_hooks={"request": [sends]})
        async with http, AsyncClient(self._url, http=http, **self._options) as client:
            found = getattr(client, method)(*given, **named)
            return [one async for one in found] if inspect.isasyncgen(found) else await found


Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[str]:
    """A server that answers what is not jobmon's: a proxy, or a newer version. Gives its address.

    Args:
        answer: Called with a path; gives status, headers and body.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
