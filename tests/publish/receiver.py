"""A real HTTP server that takes webhooks, and answers as a test says."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """One that came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What it says, and what it was told."""

    port: int = 0
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip_seconds: float = 0.0
    """Pause before each byte of the whole answer; 0: it comes at once."""
    wait_seconds: float = 0.0
    """Before it answers at all."""
    raw: bytes = b""
    """Sent in place of an answer."""
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?key=hidden-in-url"


@contextmanager
def receiver(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Receiver]:
    """One that listens."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(Request(self.path, dict(self.headers), body))
            time.sleep(found.wait_seconds)
            try:
                self._answer()
            except OSError:  # nobody waits for it
                self.close_connection = True

        def _answer(self) -> None:
            self.close_connection = True
            if found.raw:
                self._send(found.raw)
                return
            head = f"HTTP/1.1 {found.status} So\r\nContent-Length: {len(found.body)}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in found.headers.items())
            self._send(head.encode() + b"\r\n" + found.body)

        def _send(self, answer: bytes) -> None:
            if not found.drip_seconds:
                self.wfile.write(answer)
                return
            for at in range(len(answer)):
                self.wfile.write(answer[at : at + 1])
                time.sleep(found.drip_seconds)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever breaks TLS off is what the test is about

    server = Server((host, 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        found.scheme = "https"
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
