"""Requests over connections that are kept, as fast as the server answers, and how long each took.

Run as a program, so that it has a processor of its own: ``python -m benchmarks.api.load CONNECTIONS
SECONDS URL…`` prints a `Load` as JSON. Of several URLs each connection asks its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

_WARM_UP_SECONDS = 0.5
_LONGEST_SECONDS = 60.0
"""Of one answer."""


class Load(NamedTuple):
    """What a server did under it."""

    per_second: float
    p50_seconds: float
    p99_seconds: float
    answers: int


class _Client(asyncio.Protocol):
    """One connection: asks again as soon as it was answered, anew where the server closes it."""

    def __init__(self, request: bytes, took: list[tuple[float, float]]) -> None:
        self._request = request
        self._took = took
        self._read = bytearray()
        self._wanted = -1
        self._again: asyncio.Task[object] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, host: str, port: int | None) -> None:
        self._to = host, port
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._wanted < 0:
            head_ends = self._read.find(b"\r\n\r\n")
            if head_ends < 0:
                return
            head = bytes(self._read[:head_ends]).lower()
            if b" 200 " not in head[:16]:
                self._fail(f"answered {head[:200]!r}")
                return
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            if not length.strip():
                self._fail("an answer without Content-Length")
                return
            self._wanted = head_ends + 4 + int(length)
            self._closes = b"connection: close" in head
        if len(self._read) < self._wanted:
            return
        now = time.perf_counter()
        self._took.append((now, now - self._began))
        self._read.clear()
        if self._closes:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended.done():
            return
        if exc is not None or self._wanted < 0 or not self._closes:
            self._fail(f"the server closed the connection: {exc}")
        else:
            self._again = asyncio.ensure_future(self.connect(*self._to))

    def close(self) -> None:
        """Ask no more."""
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.close()

    def _ask(self) -> None:
        self._wanted = -1
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(why))
        self._transport.close()


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    path = f"{parts.path}{'?' if parts.query else ''}{parts.query}"
    return f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()


async def _measured(connections: int, seconds: float, urls: list[str]) -> Load:
    took: list[tuple[float, float]] = []
    clients: list[_Client] = []
    for number in range(connections):
        parts = urlsplit(url := urls[number % len(urls)])
        assert parts.hostname is not None
        clients.append(_Client(_request(url), took))
        await clients[-1].connect(parts.hostname, parts.port)
    ends = [client.ended for client in clients]
    await asyncio.wait(ends, timeout=_WARM_UP_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
    began = ended = time.perf_counter()
    done: set[asyncio.Future[None]] = set()
    # A server may take longer for one answer than the round is to last: some are waited for.
    while ended - began < seconds or (
        len(took) < 2 * connections and ended - began < _LONGEST_SECONDS
    ):
        done, _ = await asyncio.wait(ends, timeout=0.2, return_when=asyncio.FIRST_EXCEPTION)
        ended = time.perf_counter()
        if done:
            break
    for one in done:
        one.result()
    for client in clients:
        client.close()
    counted = sorted(each for at, each in took if began <= at <= ended)
    if not counted:
        raise RuntimeError(f"no answer within {ended - began:.0f} s")
    return Load(
        len(counted) / (ended - began),
        counted[len(counted) // 2],
        counted[min(len(counted) - 1, int(len(counted) * 0.99))],
        len(counted),
    )


def under_load(*urls: str, connections: int = 8, seconds: float = 3.0) -> Load:
    """Ask over some connections at once, from another process; each asks one of the URLs.

    Raises:
        RuntimeError: An answer was not 200, or none came.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.api.load", str(connections), str(seconds), *urls],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{urls[0]}: {done.stderr.strip().splitlines()[-1]}")
    return Load(*json.loads(done.stdout))


if __name__ == "__main__":
    _connections, _seconds, *_urls = sys.argv[1:]
    print(json.dumps(asyncio.run(_measured(int(_connections), float(_seconds), _urls))))
