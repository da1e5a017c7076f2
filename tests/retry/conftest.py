"""A store and a database with failed jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.history.copied import copies
from tests.retry.failing import Failing


@pytest.fixture
def failing(store: RedisServer, tmp_path: Path) -> Iterator[Failing]:
    """On SQLite."""
    with made("sqlite", tmp_path) as where:
        yield from _failing(store, where)


@pytest.fixture
def failing_anywhere(store: RedisServer, own_database: Database) -> Iterator[Failing]:
    """On each kind of database in turn."""
    yield from _failing(store, own_database)


def _failing(store: RedisServer, where: Database) -> Iterator[Failing]:
    with copies(store, where) as copied:
        found = Failing(store, where, copied.engine, copied)
        try:
            yield found
        finally:
            found.recorded.close()
