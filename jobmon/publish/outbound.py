"""POSTs to addresses out of a configuration, such that nobody can lead them inside.

The name is resolved here, each of its addresses is judged, and the connection is made to exactly
the one that passed: a second answer of the name's server is never asked for. No redirect is
followed and no proxy used. Everything together takes a few seconds, however slowly who answers
does so, and what is answered is neither kept nor shown.
"""

from __future__ import annotations

import email.utils
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from jobmon.publish import addresses
from jobmon.publish.addresses import Resolve
from jobmon.publish.bounded import Call
from jobmon.publish.sink import NotDeliveredError

SECONDS: Final = 5.0
"""Longest that a request may take, from the name to the answer."""
MOST_BYTES: Final = 65_536
"""Read of an answer, its head included."""
LONGEST_RETRY_AFTER_SECONDS: Final = 3600.0
_SLICE: Final = 4096
"""Bytes sent between two looks at the clock."""
_BROKEN_OFF: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class Answer(NamedTuple):
    """What is looked at of an answer."""

    status: int
    retry_after_seconds: float
    """From 0, also where it is not said, to an hour."""


class Outbound:
    """Makes such requests. Safe to share between threads."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = addresses.resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """Make one; nothing is sent.

        Args:
            allow_private: Let every address pass.
            resolve: From names to addresses.
            tls: Whom to trust; None: whom this machine's OpenSSL does.
            seconds: Longest that a request may take.
        """
        self._allow_private = allow_private
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._seconds = seconds

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request.

        Raises:
            NotDeliveredError: No answer came, or none may be asked for.
        """
        backend = _Backend(self._resolve, self._seconds, allow_private=self._allow_private)
        given = [(name.encode(), value.encode()) for name, value in headers.items()]
        # httpcore writes an IPv6 address without its brackets.
        host = urlsplit(url).netloc.encode()
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        with httpcore.ConnectionPool(self._tls, network_backend=backend) as pool:
            try:
                with pool.stream(
                    *("POST", url),
                    headers=[(b"Host", host), *given],
                    content=body,
                    extensions={"timeout": timeout},
                ) as answer:
                    found = Answer(answer.status, _retry_after(answer.headers))
                    # The answer is known. The rest is read so that who sends it can.
                    with suppress(*_BROKEN_OFF):
                        for _ in answer.iter_stream():
                            pass
                    return found
            except httpcore.TimeoutException:
                raise NotDeliveredError(f"no answer within {self._seconds:g} s") from None
            except httpcore.ProtocolError:
                raise NotDeliveredError("what was answered is no HTTP") from None
            except (httpcore.NetworkError, httpcore.UnsupportedProtocol, OSError) as error:
                raise NotDeliveredError(_why(error)) from None


class _Backend(httpcore.NetworkBackend):
    """Connections of one request: to addresses that were judged, within its time."""

    def __init__(self, resolve: Resolve, seconds: float, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._deadline = time.monotonic() + seconds
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that is allowed and there."""
        allowed = [one for one in self._addresses(host, port) if self._is_allowed(one)]
        if not allowed:
            raise NotDeliveredError("its name leads to no public address")
        for at, address in enumerate(allowed):
            # Those that do not answer leave time for the others.
            share = _left(self._deadline, timeout) / (len(allowed) - at)
            try:
                stream = self._sockets.connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if at == len(allowed) - 1:
                    raise
        raise AssertionError

    def _addresses(self, host: str, port: int) -> list[str]:
        call = Call(lambda: self._resolve(host, port), "jobmon-resolve")
        try:
            return list(call.result(_left(self._deadline)))
        except TimeoutError:
            raise httpcore.ConnectTimeout from None
        except (OSError, UnicodeError):
            raise NotDeliveredError("its name is not known") from None

    def _is_allowed(self, address: str) -> bool:
        return self._allow_private or addresses.is_public(address)


class _Stream(httpcore.NetworkStream):
    """A connection that ends with the request's time, and after so many bytes."""

    def __init__(
        self, inner: httpcore.NetworkStream, deadline: float, most: int = MOST_BYTES
    ) -> None:
        self._inner = inner
        self._deadline = deadline
        self._most = most

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As of any stream."""
        if not self._most:
            raise httpcore.ReadError("too much was answered")
        found = self._inner.read(min(max_bytes, self._most), _left(self._deadline, timeout))
        self._most -= len(found)
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As of any stream."""
        for at in range(0, len(buffer), _SLICE):
            self._inner.write(buffer[at : at + _SLICE], _left(self._deadline, timeout))

    def close(self) -> None:
        """As of any stream."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """As of any stream."""
        left = _left(self._deadline, timeout)
        inner = self._inner.start_tls(ssl_context, server_hostname, left)
        return _Stream(inner, self._deadline, self._most)

    def get_extra_info(self, info: str) -> Any:
        """As of any stream."""
        return self._inner.get_extra_info(info)


def _left(deadline: float, timeout: float | None = None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(left, timeout)


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """What the header says, in seconds: a number of them, or a moment."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    said = text.decode("ascii", "replace").strip()
    if said.isascii() and said.isdigit():
        seconds = float(said[:6])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _why(error: Exception) -> str:
    """What went wrong, without any name or address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"no TLS ({cause.reason or 'the handshake was broken off'})"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection ({cause.strerror})"
        cause = cause.__context__  # httpcore's pool takes the cause away
    return "the connection was broken off"
