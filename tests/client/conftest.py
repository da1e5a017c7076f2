"""A server that has something to show, and both clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.asking import KINDS, Asking, Kind
from tests.conftest import RedisServer
from tests.databases import made
from tests.filled import Filled, filled
from tests.serving import OPERATE, TOKENS, Served


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of client in turn."""
    return request.param


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A history for one module, to be filled."""
    with made("sqlite", tmp_path_factory.mktemp("history")) as one, filled(one) as history:
        yield history


@pytest.fixture(scope="module")
def known(redis_server: RedisServer, history: Filled) -> Iterator[Served]:
    """A server of that history that wants tokens."""
    settings = {"AUTH_TOKENS": TOKENS, "CELERY_BROKER_URL": redis_server.url}
    with Served(redis_server.url, DATABASE_URL=history.url, **settings) as server:
        yield server


@pytest.fixture
def ask(kind: Kind, known: Served) -> Asking:
    """A client that may do everything."""
    return Asking(kind, known.url, token=OPERATE)
