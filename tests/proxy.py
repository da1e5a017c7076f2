"""A way to a server that can be cut or slowed down, for tests of what happens then."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """A port through which a server is reached, and whose connections can be cut."""

    def __init__(
        self, url: str, usual: int, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen.

        Args:
            url: Of the server.
            usual: Its port, where the URL names none.
            port: Where to listen; 0: on a free one.
            tls: What to speak with who comes; the server is spoken to plainly.
        """
        parts = urlsplit(url)
        self._target = parts.hostname or "127.0.0.1", parts.port or usual
        self._listener = socket.create_server(("127.0.0.1", port))
        if tls is not None:
            self._listener = tls.wrap_socket(self._listener, server_side=True)
        login, _, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))
        self.delay_seconds = 0.0
        """Before what the server says is passed on."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, 10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                threading.Thread(target=self._join, args=(client, server), daemon=True).start()

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(
            target=self._carry, args=(server, client), kwargs={"is_answer": True}, daemon=True
        )
        back.start()
        self._carry(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _carry(
        self, source: socket.socket, sink: socket.socket, *, is_answer: bool = False
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    time.sleep(self.delay_seconds)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> int:
        """Break every open connection; how many there were."""
        with self._lock:
            cut = list(self._open)
        for end in cut:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        return len(cut) // 2

    def close(self) -> None:
        """Cut, and let nobody in any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
