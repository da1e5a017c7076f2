"""The database's schema and its versions: which it has, which it lacks, and making those."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from jobmon.history import database
from jobmon.history.schema import SchemaError, version_table

if TYPE_CHECKING:
    from jobmon.settings import Settings

HEAD: Final = "head"
"""The newest version that this jobmon knows."""
SCRIPTS: Final = Path(__file__).with_name("migrations")


def upgrade(engine: sa.Engine, settings: Settings, to: str = HEAD) -> list[str]:
    """Make what the schema lacks, one process at a time.

    Args:
        engine: Of `database.connect` with ``statement_seconds=None``: a large table takes long.
        settings: ``database.table_prefix``.
        to: The version to reach.

    Returns:
        The versions that were made, oldest first; none if there was nothing to do.

    Raises:
        DatabaseUnavailable: It cannot be reached, or another process has not made way.
        SchemaError: The schema is newer than ``to`` or than this jobmon, ``to`` is not known, or
            a table of ours is somebody else's.
    """
    with database.reached(engine), _alone(engine, settings) as connection:
        made = _pending(connection, settings, to)
        if made:
            command.upgrade(_config(settings, connection=connection), made[-1])
    return made


def current(engine: sa.Engine, settings: Settings) -> str | None:
    """The version of the database's schema; None while it has none.

    Raises:
        DatabaseUnavailable: It cannot be reached.
    """
    with database.reached(engine), engine.connect() as connection:
        return _current(connection, settings)


def check(engine: sa.Engine, settings: Settings, to: str = HEAD) -> list[str]:
    """The versions that the schema lacks, oldest first.

    Raises:
        DatabaseUnavailable: It cannot be reached.
        SchemaError: As of `upgrade`.
    """
    with database.reached(engine), engine.connect() as connection:
        return _pending(connection, settings, to)


def sql(settings: Settings, to: str = HEAD) -> str:
    """The statements that make the schema, for somebody else to run; needs no database.

    Args:
        settings: ``database.url``, for its kind, and ``database.table_prefix``.
        to: The version to reach from none, or ``FROM:TO``.

    Raises:
        SchemaError: A version is not known, or TO is before FROM.
    """
    since, colon, until = to.rpartition(":")
    _between(since or None, until)
    written = StringIO()
    command.upgrade(_config(settings, output=written), f"{since}{colon}{until}", sql=True)
    return written.getvalue()


def prepare(settings: Settings) -> list[str]:
    """Make sure that the tables are those that this jobmon needs, as a server does at its start.

    Returns:
        The versions that were made for that.

    Raises:
        DatabaseUnavailable: The database cannot be reached.
        SchemaError: They are not, and ``database.auto_migrate`` is off, or they cannot be made.
        SettingsError: The driver is not installed.
    """
    engine = database.connect(settings, statement_seconds=None)
    try:
        missing = check(engine, settings)
        if not missing or settings.database.auto_migrate:
            return upgrade(engine, settings) if missing else []
        has = current(engine, settings)
    finally:
        engine.dispose()
    raise SchemaError(
        f"the schema of {database.place(engine.url)} is {_named(has)}, this jobmon needs "
        f"{missing[-1]}, and database.auto_migrate is off: run jobmon migrate"
    )


def versions() -> list[str]:
    """Every version that this jobmon knows, oldest first."""
    script = ScriptDirectory(str(SCRIPTS))
    return [one.revision for one in script.walk_revisions()][::-1]


def _config(
    settings: Settings, *, connection: sa.Connection | None = None, output: Any = None
) -> Config:
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes.update(
        url=database.address(settings),
        connection=connection,
        table_prefix=settings.database.table_prefix,
        version_table=version_table(settings.database.table_prefix),
    )
    return config


def _current(connection: sa.Connection, settings: Settings) -> str | None:
    table = version_table(settings.database.table_prefix)
    return MigrationContext.configure(
        connection, opts={"version_table": table}
    ).get_current_revision()


def _pending(connection: sa.Connection, settings: Settings, to: str) -> list[str]:
    has = _current(connection, settings)
    if has is not None and has not in versions():
        raise SchemaError(
            f"the schema of {database.place(connection.engine.url)} is {has}, which is newer than "
            f"this jobmon, whose newest is {versions()[-1]}: upgrade jobmon"
        )
    return _between(has, to)


def _between(since: str | None, to: str) -> list[str]:
    known = versions()
    for one in (since, to):
        if one not in (None, HEAD, *known):
            raise SchemaError(f"no version {one!r} of the schema; there are {', '.join(known)}")
    first = 0 if since is None else known.index(since) + 1
    after = len(known) if to == HEAD else known.index(to) + 1
    if after < first:
        raise SchemaError(f"the schema is {_named(since)} already; jobmon does not go back to {to}")
    return known[first:after]


def _named(version: str | None) -> str:
    return version or "not there"


@contextmanager
def _alone(engine: sa.Engine, settings: Settings) -> Generator[sa.Connection]:
    """A transaction of which there is one at a time for these tables."""
    table = version_table(settings.database.table_prefix)
    if engine.dialect.name == "sqlite":
        with database.writing(engine) as connection:
            yield connection
    elif engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{database.PATIENT_SECONDS}s'")
            key = sa.func.hashtextextended(sa.func.current_schema() + "." + table, 0)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            yield connection
    else:
        with _named_lock(engine, table) as connection:
            yield connection


@contextmanager
def _named_lock(engine: sa.Engine, table: str) -> Generator[sa.Connection]:
    # A name is one for the whole server, and of at most 64 characters.
    name = hashlib.sha256(f"{engine.url.database}.{table}".encode()).hexdigest()[:32]
    with engine.connect() as connection:
        if connection.scalar(sa.select(sa.func.get_lock(name, database.PATIENT_SECONDS))) != 1:
            raise database.DatabaseUnavailable(
                f"another process has been migrating {database.place(engine.url)} for "
                f"{database.PATIENT_SECONDS} s"
            )
        try:
            yield connection
            connection.commit()
        finally:
            # It is the session's, and would go back to the pool with it.
            if not connection.invalidated:
                connection.rollback()
                connection.execute(sa.select(sa.func.release_lock(name)))
