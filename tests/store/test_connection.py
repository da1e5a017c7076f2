"""A client follows the settings and sends nothing before its first command."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from jobmon.settings import Settings
from jobmon.store.connection import connect

if TYPE_CHECKING:
    from tests.conftest import RedisServer


def settings(**where: Any) -> Settings:
    defaults = Settings()
    return replace(defaults, redis=replace(defaults.redis, **where))


def test_the_url_wins_over_host_and_port(redis_server: RedisServer) -> None:
    with connect(settings(url=redis_server.url, port=1, password="unused")) as client:
        assert client.ping()
    with connect(settings(host="127.0.0.1", port=redis_server.port, database=3)) as client:
        assert client.ping()
        assert client.client_info()["db"] == 3


def test_answers_are_bytes(redis_server: RedisServer) -> None:
    with connect(settings(url=redis_server.url)) as client:
        assert client.echo("é") == "é".encode()


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:{port}/0"])
def test_a_client_waits_no_longer_than_told(url: str | None) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        where = settings(url=url and url.format(port=port), port=port)
        started = time.monotonic()
        with connect(where, timeout=0.1) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        assert time.monotonic() - started < 1


def test_making_a_client_sends_nothing() -> None:
    with connect(settings(port=1)) as client:
        assert client is not None
    with connect(settings(url="unix:///nowhere.sock"), timeout=0.1) as client:
        with pytest.raises(redis.ConnectionError):
            client.ping()


def test_a_reader_survives_a_restart(own_server: RedisServer) -> None:
    with connect(settings(port=own_server.port)) as client:
        assert client.ping()
        own_server.restart()
        assert client.ping()
