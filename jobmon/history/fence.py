"""Transactions of whoever holds a lease, which refuse those of who held it before."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, insert, select, update

from jobmon.errors import JobmonError
from jobmon.history.database import writing

if TYPE_CHECKING:
    from jobmon.history.schema import Tables


class FencedError(JobmonError):
    """Somebody else does the work by now; nothing of the transaction was written."""


class Fence:
    """Knows the highest token of a lease that has written. Safe to share between threads."""

    def __init__(self, tables: Tables, lease: str, store: Callable[[], str]) -> None:
        """Make one.

        Args:
            tables: Of the history.
            lease: Name of the lease under which is written.
            store: Tells which store the lease is of: the tokens of two have no order.
        """
        self._table = tables.fence
        self._lease = lease
        self._store = store

    @contextmanager
    def writing(self, engine: Engine, token: int) -> Generator[Connection]:
        """A transaction that writes, committed at the end of the block.

        Args:
            engine: Of the database.
            token: Of the lease.

        Raises:
            FencedError: The lease has gone to somebody else.
            sqlalchemy.exc.DBAPIError: The database refuses, or cannot be reached.
            redis.RedisError: The store does not say which one it is.
        """
        name = f"{self._lease}:{self._store()}"
        with writing(engine) as connection:
            self._take(connection, name, token)
            yield connection

    def _take(self, connection: Connection, name: str, token: int) -> None:
        """First: it holds the row until the end, so that no two ever write at once.

        Else a holder that was frozen before its commit might put back, in the end, what its
        successor looked for in vain to take out.
        """
        fence = self._table
        own = fence.c.name == name
        if connection.execute(
            update(fence).where(own, fence.c.token <= token), {"token": token}
        ).rowcount:
            return
        if connection.execute(select(fence.c.token).where(own)).first() is not None:
            raise FencedError("somebody else has taken over the work")
        connection.execute(insert(fence), {"name": name, "token": token})
