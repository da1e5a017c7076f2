"""Connections are as the history needs them, every wait ends, and errors say what is wrong."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobmon.history import database
from jobmon.history.database import DatabaseUnavailable
from jobmon.settings import SettingsError, load
from tests.databases import Database, made


@pytest.fixture(params=["postgresql", "mysql"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database on a server."""
    with made(request.param, tmp_path) as one:
        yield one


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite+pysqlite:////var/a.db", "sqlite:////var/a.db"),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        (
            "postgresql+psycopg://h:1/d?sslmode=require",
            "postgresql+psycopg://h:1/d?sslmode=require",
        ),
        ("mysql://h/d", "mysql+pymysql://h/d"),
        ("mariadb://h/d", "mysql+pymysql://h/d"),
        ("mariadb+pymysql://h/d", "mysql+pymysql://h/d"),
    ],
)
def test_each_kind_has_one_driver(given: str, used: str) -> None:
    assert str(database.address(load({"database.url": given}, environ={}))) == used


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("postgresql://h/d", "psycopg", "postgres"), ("mariadb://h/d", "pymysql", "mysql")],
)
def test_a_missing_driver_names_the_extra(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=f"{module}: install .* the extra '{extra}'"):
        database.connect(load({"database.url": url}, environ={}))


def test_an_option_that_the_driver_does_not_have_is_refused() -> None:
    settings = load({"database.url": "mysql://h/d?ssl_mode=REQUIRED&ssl_ca=/x"}, environ={})
    with pytest.raises(SettingsError, match=r"database.url: PyMySQL has no option ssl_mode$"):
        database.connect(settings)


def nobody() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"])
def test_a_database_that_is_not_there_is_said_in_one_line(kind: str) -> None:
    url = f"{kind}://root:hidden@127.0.0.1:{nobody()}/d?connect_timeout=1"
    if kind == "sqlite":
        url = "sqlite:////nonexistent/jobmon.db"
    engine = database.connect(load({"database.url": url}, environ={}))
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        with database.reached(engine), engine.connect():
            pass
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"database": "nonesuch"}, {"username": "nobody_here"}])
def test_a_database_that_lets_nobody_in_is_not_reached(remote: Database, wrong: dict) -> None:
    url = sa.make_url(remote.url).set(**wrong).render_as_string(hide_password=False)
    engine = database.connect(load({"database.url": url}, environ={}))
    with pytest.raises(DatabaseUnavailable):
        with database.reached(engine), engine.connect():
            pass


def test_what_is_wrong_with_a_statement_is_no_outage(own_database: Database) -> None:
    with own_database.engine() as engine, pytest.raises(sa.exc.DBAPIError) as caught:
        with database.reached(engine), engine.connect() as connection:
            connection.exec_driver_sql("SELECT n FROM nowhere")
    assert not database.is_away(caught.value)
    assert "nowhere" in database.said(caught.value)


def test_a_connection_that_was_cut_is_an_outage_and_the_next_is_new(remote: Database) -> None:
    with remote.engine() as engine:
        with engine.connect() as connection:
            end(remote, own_id(connection))
            with pytest.raises(DatabaseUnavailable), database.reached(engine):
                connection.scalar(sa.select(1))
        with engine.connect() as connection:
            mine = own_id(connection)
        end(remote, mine)
        with database.reached(engine), engine.connect() as connection:
            assert own_id(connection) != mine


def own_id(connection: sa.Connection) -> int:
    is_mysql = connection.dialect.name == "mysql"
    function = sa.func.connection_id() if is_mysql else sa.func.pg_backend_pid()
    found = connection.scalar(sa.select(function))
    assert found is not None
    return found


def end(remote: Database, number: int) -> None:
    """End a connection as an administrator does."""
    with remote.engine() as engine, engine.connect() as connection:
        if remote.kind == "mysql":
            connection.exec_driver_sql(f"KILL CONNECTION {number}")
        else:
            connection.execute(sa.select(sa.func.pg_terminate_backend(number, 5000)))


def test_sessions_are_strict_in_utc_and_read_what_is_committed(remote: Database) -> None:
    with remote.engine() as engine, engine.connect() as connection:
        if remote.kind == "postgresql":
            for name, value in {
                "TimeZone": "UTC",
                "transaction_isolation": "read committed",
                "statement_timeout": "30s",
                "lock_timeout": "15s",
                "idle_in_transaction_session_timeout": "10s",
                "application_name": "jobmon",
            }.items():
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() == value
            return
        row = connection.exec_driver_sql(
            "SELECT @@time_zone, @@sql_mode, @@innodb_lock_wait_timeout, @@character_set_client"
        ).one()
        assert tuple(row)[::2] == ("+00:00", 15)
        assert "STRICT_TRANS_TABLES" in row[1]
        assert row[3] == "utf8mb4"
        assert connection.get_isolation_level() == "READ COMMITTED"


def test_options_of_ones_own_are_kept_beside_ours(tmp_path: Path) -> None:
    with made("postgresql", tmp_path) as one:
        more = "options=-c%20work_mem%3D5MB%20-c%20lock_timeout%3D7s&application_name=shop"
        own = Database(one.kind, f"{one.url}?{more}")
        with own.engine() as engine, engine.connect() as connection:
            shown = [
                connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in ("work_mem", "lock_timeout", "application_name", "TimeZone")
            ]
        assert shown == ["5MB", "7s", "shop", "UTC"]


def test_a_statement_that_takes_too_long_is_ended(remote: Database) -> None:
    settings = remote.settings()
    engine = database.connect(settings, statement_seconds=0.2)
    sleep = "SELECT pg_sleep(30)"
    if remote.kind == "mysql":
        sleep = "SELECT COUNT(*) FROM information_schema.columns WHERE SLEEP(30) = 0"
    began = time.monotonic()
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as caught:
        connection.exec_driver_sql(sleep)
    assert not database.is_away(caught.value)
    assert time.monotonic() - began < 25
    engine.dispose()


def test_a_process_that_stops_within_a_transaction_holds_nobody_up(
    remote: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "IDLE_SECONDS", 1)
    with remote.engine() as frozen, remote.engine() as other:
        with other.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE held (id integer primary key, n integer)")
            connection.exec_driver_sql("INSERT INTO held VALUES (1, 0)")
        held = frozen.connect()
        held.exec_driver_sql("UPDATE held SET n = 1 WHERE id = 1")
        # Waits for the other's lock, until the server ends its transaction.
        with other.begin() as connection:
            connection.exec_driver_sql("UPDATE held SET n = 2 WHERE id = 1")
        with pytest.raises(DatabaseUnavailable), database.reached(frozen):
            held.exec_driver_sql("UPDATE held SET n = 3 WHERE id = 1")
        held.invalidate()
        held.close()
        with other.connect() as connection:
            assert connection.exec_driver_sql("SELECT n FROM held").scalar() == 2


def test_writers_wait_for_each_other_also_after_they_read(own_database: Database) -> None:
    """Ten threads that read a number and write the next one lose none."""

    def count() -> None:
        for _ in range(5):
            with database.writing(engine) as connection:
                if own_database.kind != "sqlite":
                    connection.exec_driver_sql("SELECT n FROM counts FOR UPDATE")
                number = connection.exec_driver_sql("SELECT n FROM counts").scalar()
                assert number is not None
                connection.exec_driver_sql(f"UPDATE counts SET n = {number + 1}")

    with own_database.engine() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE counts (n integer)")
            connection.exec_driver_sql("INSERT INTO counts VALUES (0)")
        threads = [threading.Thread(target=count) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT n FROM counts").scalar() == 50


def test_a_reader_of_sqlite_sees_one_state_and_stops_no_writer(tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (n integer)")
        with engine.connect() as reader:
            assert reader.exec_driver_sql("SELECT COUNT(*) FROM t").scalar() == 0
            with database.writing(engine) as connection:
                connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            assert reader.exec_driver_sql("SELECT COUNT(*) FROM t").scalar() == 0
        with engine.connect() as reader:
            assert reader.exec_driver_sql("SELECT COUNT(*) FROM t").scalar() == 1


def test_tables_are_made_in_the_transaction_on_sqlite(tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as one, one.engine() as engine:
        statements = ("CREATE TABLE t (n integer)", "SELECT n FROM nowhere")
        with pytest.raises(sa.exc.DBAPIError), database.writing(engine) as connection:
            [connection.exec_driver_sql(one) for one in statements]
        assert sa.inspect(engine).get_table_names() == []
