"""A store, a database, and passes between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.commit import Committer
from jobmon.history.copying import Report
from jobmon.history.failures import Copied, Failures
from jobmon.history.schema import Tables, tables
from jobmon.history.sync import Sync
from jobmon.history.write import History
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.identity import Identity
from jobmon.store.keys import LEADER, SYNC
from jobmon.store.lease import Lease
from tests.conftest import RedisServer
from tests.databases import Database

UNEQUAL = ("id", "created_at", "updated_at")
"""Columns that tell of the copy, not of what was copied."""


class Copies:
    """What the tests want of the history."""

    def __init__(self, settings: Settings, client: Any, engine: sa.Engine) -> None:
        self.settings = settings
        self.client = client
        self.engine = engine
        self.tables: Tables = tables("")

    def sync(self, **options: Any) -> Report:
        """One pass, under the lease."""
        stop = threading.Event()
        store = Identity(self.client, self.settings)
        history = History(self.engine, self.tables, SYNC, store)
        sync = Sync(self.client, Committer(history, self.settings, stop), self.settings, stop)
        lease = Lease(self.client, self.settings, SYNC)
        token = lease.acquire()
        assert token is not None
        try:
            return sync.run(token, **options)
        finally:
            lease.release(token)

    def copy_failures(self) -> Copied:
        """One pass over the failures, under the leader's lease."""
        store = Identity(self.client, self.settings)
        history = History(self.engine, self.tables, LEADER, store)
        committer = Committer(history, self.settings, threading.Event())
        lease = Lease(self.client, self.settings, LEADER)
        token = lease.acquire()
        assert token is not None
        try:
            return Failures(self.client, committer, self.settings).copy(token)
        finally:
            lease.release(token)

    def rows(self, table: str, *, all_columns: bool = False) -> list[dict[str, Any]]:
        """Rows of a table in the order of their keys."""
        own: sa.Table = getattr(self.tables, table)
        with self.engine.connect() as reading:
            found = [dict(row) for row in reading.execute(sa.select(own)).mappings()]
        if not all_columns:
            found = [{n: v for n, v in row.items() if n not in UNEQUAL} for row in found]
        return sorted(found, key=lambda row: str(sorted(row.items())))


@contextmanager
def copies(store: RedisServer, own_database: Database, **more: Any) -> Iterator[Copies]:
    """From that store to that database, whose tables are made."""
    settings = own_database.settings(redis__url=store.url, sync__chunk_delay_ms=0, **more)
    migrate.prepare(settings)
    with connection.connect(settings) as client, own_database.engine() as engine:
        yield Copies(settings, client, engine)
