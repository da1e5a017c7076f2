"""An empty outbox for one test; handlers of one test only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmon import anomaly
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.publish.outbox import Outbox, outbox


@pytest.fixture
def box(store: RedisServer, tmp_path: Path) -> Iterator[Outbox]:
    """In SQLite."""
    with made("sqlite", tmp_path) as database, outbox(store, database) as found:
        yield found


@pytest.fixture
def any_box(store: RedisServer, own_database: Database) -> Iterator[Outbox]:
    """In each kind of database in turn."""
    with outbox(store, own_database) as found:
        yield found


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """What a test registers ends with it."""
    yield
    anomaly._found.clear()
    anomaly._over.clear()
