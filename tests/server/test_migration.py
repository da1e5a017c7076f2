"""A server makes its tables, or refuses to run on others, or waits for its database."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.history import migrate
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.proxy import Proxy
from tests.serving import PREFIX, Served, environment, until

pytestmark = pytest.mark.live

NEWEST = migrate.versions()[-1]


def refused(store: RedisServer, url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A ``jobmon serve`` that is to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "serve", "--listen", "127.0.0.1:0"],
        env=environment(REDIS_URL=store.url, DATABASE_URL=url, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_makes_its_tables_before_it_answers(store: RedisServer, own_database: Database) -> None:
    settings = own_database.settings()
    with Served(store.url, DATABASE_URL=own_database.url) as first:
        with own_database.engine() as engine:
            assert migrate.current(engine, settings) == NEWEST
        assert first.client.get("/readyz").json() == {"success": True}
        with Served(store.url, DATABASE_URL=own_database.url) as second:
            assert second.client.get("/readyz").status_code == 200
            until(lambda: "authentication" in second.logged())
            assert "are now of version" not in second.logged()
        assert f"tables are now of version {NEWEST}" in first.logged()


def test_told_not_to_it_refuses_tables_of_another_version(
    store: RedisServer, own_database: Database
) -> None:
    by_hand = {"DATABASE_AUTO_MIGRATE": "false"}
    ended = refused(store, own_database.url, **by_hand)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"this jobmon needs {NEWEST}" in ended.stderr
    assert ended.stderr.endswith("run jobmon migrate\n")
    assert ended.stderr.count("\n") == 1
    with own_database.engine() as engine:
        assert migrate.current(engine, own_database.settings()) is None
        migrate.upgrade(engine, own_database.settings())
    with Served(store.url, DATABASE_URL=own_database.url, **by_hand) as server:
        assert server.client.get("/readyz").status_code == 200


def test_tables_of_a_newer_jobmon_are_refused(store: RedisServer, tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        migrate.upgrade(engine, one.settings())
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE jobmon_version SET version_num = '9000'"))
        ended = refused(store, one.url)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is 9000, which is newer than this jobmon" in ended.stderr


def test_without_its_database_it_answers_and_is_ready_once_it_comes(
    store: RedisServer, tmp_path: Path
) -> None:
    with made("postgresql", tmp_path) as one:
        where = sa.make_url(one.url)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        away = where.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        with Served(store.url, DATABASE_URL=away) as server:
            assert server.client.get("/livez").status_code == 200
            answer = server.client.get("/readyz")
            assert (answer.status_code, answer.json()) == (503, {"success": False})
            assert server.client.get(f"{PREFIX}/commands/running").status_code == 200
            assert server.client.get(f"{PREFIX}/stats").status_code == 503
            assert f"on 127.0.0.1:{port} cannot be reached" in server.logged()
            proxy = Proxy(one.url, 5432, port)
            try:
                until(lambda: server.client.get("/readyz").status_code == 200, 30)
                proxy.close()
                assert server.client.get("/readyz").status_code == 200
            finally:
                proxy.close()
