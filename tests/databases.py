"""Databases of our own on real servers: SQLite, PostgreSQL, and MySQL or MariaDB.

``JOBMON_TEST_POSTGRES_URL`` and ``JOBMON_TEST_MYSQL_URL`` name a database of a server on which
others may be made; without them, that of this machine is taken.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from jobmon.history import database
from jobmon.settings import Settings, load

KINDS = ("sqlite", "postgresql", "mysql")
_SERVERS = {
    "postgresql": (
        "JOBMON_TEST_POSTGRES_URL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    ),
    "mysql": ("JOBMON_TEST_MYSQL_URL", "mysql+pymysql://root@127.0.0.1:3306/test"),
}


@dataclass(frozen=True)
class Database:
    """An empty database that nobody else uses."""

    kind: str
    """One of `KINDS`."""
    url: str

    def settings(self, **more: object) -> Settings:
        """Settings that lead to it; ``more`` by key, ``__`` for the dot."""
        given = {name.replace("__", "."): value for name, value in more.items()}
        return load({"database.url": self.url, **given}, environ={}, cwd=Path("/nonexistent"))

    @contextmanager
    def engine(self, **more: object) -> Iterator[sa.Engine]:
        """jobmon's own way to it."""
        engine = database.connect(self.settings(**more))
        try:
            yield engine
        finally:
            engine.dispose()


def server(kind: str) -> str:
    """Address of the server on which databases are made."""
    variable, usual = _SERVERS[kind]
    return os.environ.get(variable) or usual


@contextmanager
def made(kind: str, folder: Path) -> Iterator[Database]:
    """A database, dropped at the end; a skip where there is no server."""
    if kind == "sqlite":
        yield Database(kind, f"sqlite:///{folder / 'jobmon.db'}")
        return
    where = sa.make_url(server(kind))
    name = f"jobmon_test_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(where, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    except OperationalError as error:
        pytest.skip(f"no {kind}: start one, or set {_SERVERS[kind][0]} ({error.orig!r})")
    url = where.set(database=name)
    try:
        yield Database(kind, url.render_as_string(hide_password=False))
    finally:
        with admin.connect() as connection:
            if kind == "postgresql":
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
            else:
                connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.fixture(params=KINDS)
def own_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database for one test, on each kind of server in turn."""
    with made(request.param, tmp_path) as one:
        yield one
