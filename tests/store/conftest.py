"""Every kind of server that this machine has: the script runs on Redis and on Valkey."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import RedisServer, server_binary


def _servers() -> list[str]:
    found = {shutil.which("redis-server"), shutil.which("valkey-server"), server_binary()}
    return sorted(one for one in found if one)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


@pytest.fixture(scope="module", params=_servers(), ids=_name)
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of a server that the module's tests share."""
    server = RedisServer(request.param)
    server.start()
    with server.client() as made:
        yield made
    server.stop()


@pytest.fixture(params=_servers(), ids=_name)
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server for one test, which may stop, restart or configure it."""
    server = RedisServer(request.param)
    server.start()
    yield server
    server.stop()
