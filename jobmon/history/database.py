"""The way to the history's database: an engine with bounded waits, and what its errors mean."""

from __future__ import annotations

import select
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobmon.errors import Unavailable
from jobmon.inert import inert
from jobmon.settings import SettingsError

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

    from jobmon.settings import Settings

STATEMENT_SECONDS: Final = 30.0
"""Longest that one statement may take, if nobody says otherwise."""
LOCK_SECONDS: Final = 15
"""Longest wait for a lock: longer than an idle transaction may hold one."""
PATIENT_SECONDS: Final = 300
"""The same for migrations, one of which waits for another to end."""
IDLE_SECONDS: Final = 10
"""Longest pause within a transaction before the server ends it: a process that was stopped in the
middle of one holds nobody up for longer."""
_CONNECT_SECONDS: Final = 5
_POOL_SECONDS: Final = 5.0
_DEAD_PEER_SECONDS: Final = 20
"""Silence after which a connection whose other end has vanished is given up."""
_TRUSTED_SECONDS: Final = 10.0
"""How long a connection that says nothing is taken for one that works."""
_RETURNED_AT: Final = "jobmon_returned_at"
_POOL: Final = 5
_OVERFLOW: Final = 5

_DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_EXTRAS: Final = {"postgresql": "postgres", "mysql": "mysql"}
_SQL_MODE: Final = (
    "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)
# SQLSTATE: disk full, too many connections, idle for too long, shut down, crashed, starting.
_AWAY_STATES: Final = frozenset({"53100", "53300", "25P03", "57P05", "57P01", "57P02", "57P03"})
# Shutdown, killed, gone, lost, idle for too long.
_AWAY_NUMBERS: Final = frozenset({1053, 1927, 2006, 2013, 4031})
_AWAY_CODES: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
)
# Serialization, deadlock, lock not available, a statement that took too long.
_IN_THE_WAY_STATES: Final = frozenset({"40001", "40P01", "55P03", "57014"})
# Deadlock, lock wait timeout, a statement that took too long.
_IN_THE_WAY_NUMBERS: Final = frozenset({1213, 1205, 1969, 3024})
# Cardinality (two rows of one key), data, integrity, limits of the program.
_ROW_CLASSES: Final = ("21", "22", "23", "54")
# Packet too large, no characters of ours, checks.
_ROW_NUMBERS: Final = frozenset({1153, 1300, 3819, 4025})
_ROW_CODES: Final = frozenset(
    {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
)
_IMMEDIATE: Final = "jobmon_immediate"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or does not let us in."""


def address(settings: Settings) -> URL:
    """``database.url`` with the driver that jobmon uses."""
    given = make_url(settings.database.url)
    kind = given.drivername.partition("+")[0]
    return given.set(drivername=_DRIVERS["mysql" if kind == "mariadb" else kind])


def connect(
    settings: Settings, *, statement_seconds: float | None = STATEMENT_SECONDS
) -> sa.Engine:
    """Make an engine of at most ten connections; nothing is sent before its first use.

    Args:
        settings: ``settings.database``.
        statement_seconds: Longest that one statement may take. None, for migrations: as long as
            the tables are large.

    Raises:
        SettingsError: The driver is not installed, or knows none of an option in the URL.
    """
    url = address(settings)
    kind = url.get_backend_name()
    options: dict[str, Any] = {
        "pool_size": _POOL,
        "max_overflow": _OVERFLOW,
        "pool_timeout": _POOL_SECONDS,
        # One of PostgreSQL is looked at instead, which costs no round trip.
        "pool_pre_ping": kind != "postgresql",
        "connect_args": _OPTIONS[kind](url, statement_seconds),
    }
    if kind != "sqlite":
        options["isolation_level"] = "READ COMMITTED"
    try:
        engine = sa.create_engine(url, **options)
    except ModuleNotFoundError as error:
        how = f"install jobmon with the extra {_EXTRAS[kind]!r}"
        raise SettingsError([f"database.url: {kind} needs {error.name}: {how}"]) from error
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif kind == "postgresql":
        event.listen(engine, "checkin", _note_return)
        event.listen(engine, "checkout", _look_at(engine))
    elif kind == "mysql":
        _refuse_unknown(engine, url)
        event.listen(engine, "connect", _prepare_mysql(statement_seconds))
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Generator[sa.Connection]:
    """A transaction that writes, committed at the end of the block.

    SQLite refuses at once to let one that has read go on to write while another writes; this one
    waits for its turn before it reads.
    """
    with engine.connect() as connection:
        connection.execution_options(**{_IMMEDIATE: True})
        with connection.begin():
            yield connection


def only_read(connection: sa.Connection, *, at_one_moment: bool = False) -> None:
    """Prepare a connection that has done nothing yet for statements that only read.

    Args:
        connection: It.
        at_one_moment: What several statements read is to be of one moment.
    """
    kind = connection.dialect.name
    if kind == "postgresql":
        # Without a transaction, two round trips fewer.
        level = "REPEATABLE READ" if at_one_moment else "AUTOCOMMIT"
        connection.execution_options(isolation_level=level)
    elif kind == "mysql" and at_one_moment:
        # Of the next transaction alone; SQLAlchemy would set the session's and set it back.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


@contextmanager
def reached(engine: sa.Engine) -> Generator[None]:
    """Around whatever uses the engine: tells a database that is away from any other fault.

    Raises:
        DatabaseUnavailable: In place of what the driver raised because it cannot reach it.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if not is_away(error):
            raise
        raise DatabaseUnavailable(
            f"{place(engine.url)} cannot be reached: {said(error)}"
        ) from error


@contextmanager
def answering(engine: sa.Engine) -> Generator[None]:
    """As `reached`, for whoever does not try again: somebody in the way is as good as away.

    Raises:
        DatabaseUnavailable: It cannot be reached, or somebody else's transaction is in the way.
    """
    with reached(engine):
        try:
            yield
        except DBAPIError as error:
            if not is_in_the_way(error):
                raise
            raise DatabaseUnavailable(said(error)) from error


def is_away(error: Exception) -> bool:
    """Whether an error says that the database is not there, so that trying again may help."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError) or not isinstance(error.orig, Exception):
        return False
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    if isinstance(original, sqlite3.Error):
        return (getattr(original, "sqlite_errorcode", None) or 0) & 0xFF in _AWAY_CODES
    if error.statement is None and isinstance(error, OperationalError):  # it came to no talk
        return True
    number = original.args[0] if original.args else None
    if isinstance(number, int):  # PyMySQL
        return number in _AWAY_NUMBERS
    state: str = getattr(original, "sqlstate", None) or ""
    return state.startswith("08") or state in _AWAY_STATES


def is_in_the_way(error: Exception) -> bool:
    """Whether somebody else's transaction is why it failed, so that the same again may work."""
    if not isinstance(error, DBAPIError) or not isinstance(error.orig, Exception):
        return False
    state = getattr(error.orig, "sqlstate", None)
    number = error.orig.args[0] if error.orig.args else None
    return state in _IN_THE_WAY_STATES or number in _IN_THE_WAY_NUMBERS


def is_of_the_row(error: Exception) -> bool:
    """Whether it failed for what a row holds, so that others may pass."""
    if isinstance(error, PoolTimeout):
        return False
    if not isinstance(error, DBAPIError):  # it could not even be sent
        original = (error.orig if isinstance(error, StatementError) else None) or error
        return isinstance(original, ValueError | OverflowError)
    original: Any = error.orig
    if isinstance(original, sqlite3.Error):
        return (getattr(original, "sqlite_errorcode", None) or 0) & 0xFF in _ROW_CODES
    if isinstance(error, DataError | IntegrityError):
        return True
    number = original.args[0] if original.args else None
    state: str = getattr(original, "sqlstate", None) or ""
    return number in _ROW_NUMBERS or state[:2] in _ROW_CLASSES


def said(error: Exception) -> str:
    """What the driver said on one line, without our statement and its values."""
    if isinstance(error, PoolTimeout):
        return "all connections are in use"
    original = (error.orig if isinstance(error, StatementError) else None) or error
    parts: tuple[object, ...] = original.args
    return inert(" ".join(str(parts[-1] if parts else original).split()))


def place(url: URL) -> str:
    """Which database it is, without user, password and options."""
    if url.get_backend_name() == "sqlite":
        return f"the database {url.database}"
    host = url.host or "this machine"
    return f"the database {url.database} on {host}{f':{url.port}' if url.port else ''}"


def _options_of_sqlite(_url: URL, statement_seconds: float | None) -> dict[str, Any]:
    return {"timeout": PATIENT_SECONDS if statement_seconds is None else LOCK_SECONDS}


def _options_of_postgresql(url: URL, statement_seconds: float | None) -> dict[str, Any]:
    session = {"timezone": "UTC", "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s"}
    if statement_seconds is not None:
        session["statement_timeout"] = f"{int(statement_seconds * 1000)}ms"
        session["lock_timeout"] = f"{LOCK_SECONDS}s"
    given = url.query.get("options", "")
    theirs = given if isinstance(given, str) else " ".join(given)
    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "jobmon",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": _DEAD_PEER_SECONDS * 1000,
    }
    kept = {name: value for name, value in options.items() if name not in url.query}
    ours = " ".join(f"-c {name}={value}" for name, value in session.items())
    return kept | {"options": f"{ours} {theirs}".strip()}


def _options_of_mysql(url: URL, statement_seconds: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "charset": "utf8mb4"}
    if statement_seconds is not None:
        wait = int(statement_seconds) + LOCK_SECONDS
        options |= {"read_timeout": wait, "write_timeout": wait}
    return {name: value for name, value in options.items() if name not in url.query}


_OPTIONS: Final = {
    "sqlite": _options_of_sqlite,
    "postgresql": _options_of_postgresql,
    "mysql": _options_of_mysql,
}


def _refuse_unknown(engine: sa.Engine, url: URL) -> None:
    """PyMySQL would raise a TypeError at each attempt to connect."""
    from inspect import signature

    known = signature(engine.dialect.import_dbapi().connect).parameters
    unknown = [name for name in engine.dialect.create_connect_args(url)[1] if name not in known]
    if unknown:
        raise SettingsError([f"database.url: PyMySQL has no option {', '.join(unknown)}"])


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's driver begins a transaction neither for SELECT nor for DDL; `_begin_sqlite` does.
    connection.isolation_level = None
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Two that make the same new file at once: this waits for nobody by itself.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _note_return(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_RETURNED_AT] = time.monotonic()


def _look_at(engine: sa.Engine) -> Any:
    """What asks a connection that has said something unasked, such as its end, if it still works.

    One that was idle for long is asked in any case: something between the two may have dropped it.
    """

    def look(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None:  # it is new
            return
        is_trusted = time.monotonic() - returned_at < _TRUSTED_SECONDS and not connection.closed
        # poll, not select: that knows no descriptor above 1,023.
        if is_trusted and not _spoke(connection.fileno()):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the connection was cut") from error

    return look


def _spoke(descriptor: int) -> bool:
    watched = select.poll()
    watched.register(descriptor, select.POLLIN)
    return bool(watched.poll(0))


def _prepare_mysql(statement_seconds: float | None) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        values = {"time_zone": "'+00:00'", "sql_mode": f"'{_SQL_MODE}'"}
        is_mariadb = "mariadb" in str(connection.get_server_info()).lower()
        if is_mariadb:
            values["idle_transaction_timeout"] = str(IDLE_SECONDS)
        else:  # it knows no other bound of an idle transaction than that of an idle connection
            values["wait_timeout"] = str(3 * IDLE_SECONDS)
        if statement_seconds is not None:
            values["innodb_lock_wait_timeout"] = str(LOCK_SECONDS)
            if is_mariadb:
                values["max_statement_time"] = str(statement_seconds)
            else:
                values["max_execution_time"] = str(int(statement_seconds * 1000))
        with connection.cursor() as cursor:
            cursor.execute(
                "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in values.items())
            )

    return prepare
