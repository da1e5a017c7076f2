"""What only reads is asked again, by itself and not for ever."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobmon.client import (
    AsyncClient,
    Client,
    ServerError,
    TooManyRequests,
    Unavailable,
    Unreachable,
)
from tests.client.asking import JSON, Answer, Asking, Kind, answering
from tests.conftest import RedisServer
from tests.serving import PREFIX, Served

pytestmark = pytest.mark.live

WORKERS = b'{"success":true,"data":[]}'


@pytest.fixture
def address() -> str:
    """Where nobody listens yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Refusing:
    """A server that refuses some times before it answers."""

    def __init__(self, times: int, status: int, **headers: str) -> None:
        self.asked: list[float] = []
        self._times = times
        self._refusal = status, {**JSON, **headers}, b'{"success":false,"message":"Later."}'

    def __call__(self, path: str) -> Answer:
        self.asked.append(time.monotonic())
        return self._refusal if len(self.asked) <= self._times else (200, JSON, WORKERS)


@contextmanager
def meanwhile(what: threading.Thread) -> Iterator[None]:
    what.start()
    try:
        yield
    finally:
        what.join(30)


def test_a_server_that_comes_back_is_asked_again(
    kind: Kind, redis_server: RedisServer, address: str
) -> None:
    with Served(redis_server.url, LISTEN=address) as server:
        assert Asking(kind, server.url)("workers") == []
    back: list[Served] = []

    def start() -> None:
        back.append(Served(redis_server.url, LISTEN=address))

    ask = Asking(kind, f"http://{address}", retries=20, longest_wait_seconds=0.5)
    try:
        with meanwhile(threading.Thread(target=start)):
            assert ask("workers") == []
    finally:
        for one in back:
            one.__exit__()
    assert len(ask.sent) > 1


def test_a_store_that_comes_back_is_asked_for_when_the_server_says(
    kind: Kind, own_redis_server: RedisServer
) -> None:
    with Served(own_redis_server.url) as server:
        own_redis_server.stop()
        started = time.monotonic()
        with meanwhile(threading.Timer(1.0, own_redis_server.start)):
            ask = Asking(kind, server.url)
            assert ask("stats").total_failed == 0
        assert time.monotonic() - started >= 5
        assert len(ask.sent) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told(kind: Kind, status: int) -> None:
    server = Refusing(2, status, **{"Retry-After": "1"})
    with answering(server) as url:
        assert Asking(kind, url)("workers") == []
    first, second, third = server.asked
    assert second - first >= 1
    assert third - second >= 1


def test_without_being_told_it_waits_longer_each_time(kind: Kind) -> None:
    server = Refusing(2, 503, **{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})
    with answering(server) as url:
        assert Asking(kind, url)("workers") == []
    first, second, third = server.asked
    assert second - first >= 0.25
    assert third - second >= 0.5


def test_it_gives_up_after_as_many_as_it_may(kind: Kind, address: str) -> None:
    server = Refusing(9, 503)
    with answering(server) as url:
        with pytest.raises(Unavailable, match=r"503 Later\."):
            Asking(kind, url, retries=1, longest_wait_seconds=0.01)("workers")
    assert len(server.asked) == 2
    ask = Asking(kind, f"http://{address}", retries=3, longest_wait_seconds=0.01)
    with pytest.raises(Unreachable):
        ask("workers")
    assert len(ask.sent) == 4


def test_it_does_not_wait_longer_than_it_may(kind: Kind) -> None:
    server = Refusing(1, 429, **{"Retry-After": "2"})
    with answering(server) as url:
        with pytest.raises(TooManyRequests) as refused:
            Asking(kind, url, longest_wait_seconds=1)("workers")
    assert refused.value.retry_after_seconds == 2
    assert len(server.asked) == 1


@pytest.mark.parametrize("method", ["retry", "delete_failed", "retry_failed"])
def test_what_changes_something_is_asked_once(kind: Kind, address: str, method: str) -> None:
    server = Refusing(1, 503, **{"Retry-After": "1"})
    with answering(server) as url:
        with pytest.raises(Unavailable):
            Asking(kind, url)(method, "123")
    assert len(server.asked) == 1
    ask = Asking(kind, f"http://{address}")
    with pytest.raises(Unreachable):
        ask(method, "123")
    assert len(ask.sent) == 1


def test_a_fault_is_final(kind: Kind) -> None:
    server = Refusing(1, 500)
    with answering(server) as url:
        with pytest.raises(ServerError):
            Asking(kind, url)("workers")
    assert len(server.asked) == 1


def test_an_answer_that_takes_too_long_is_not_asked_for_again(kind: Kind) -> None:
    asked, over = [], threading.Event()

    def slow(path: str) -> Answer:
        asked.append(path)
        over.wait(20)
        return 200, JSON, WORKERS

    async def asks(url: str) -> None:
        async with AsyncClient(url, timeout=0.2) as client:
            await client.workers()

    def waits(url: str) -> None:
        with Client(url, timeout=0.2) as client:
            client.workers()

    with answering(slow) as url:
        try:
            with pytest.raises(Unreachable):
                asyncio.run(asks(url)) if kind == "async" else waits(url)
        finally:
            over.set()
    assert asked == [f"{PREFIX}/workers"]
