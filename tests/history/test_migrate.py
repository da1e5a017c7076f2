"""The tables that migrations make are those that the code names, on each database."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from jobmon.history import database, migrate
from jobmon.history.schema import SchemaError, tables, version_table
from tests.databases import KINDS, Database
from tests.serving import environment


@pytest.fixture
def engine(own_database: Database) -> Iterator[sa.Engine]:
    with own_database.engine() as one:
        yield one


def found(engine: sa.Engine) -> dict[str, dict[str, Any]]:
    """All that the database says of its tables."""
    inspector = sa.inspect(engine)
    return {
        name: {
            "columns": [repr(one) for one in inspector.get_columns(name)],
            "indexes": {
                str(one["name"]): one["column_names"] for one in inspector.get_indexes(name)
            },
            "unique": {tuple(x["column_names"]) for x in inspector.get_unique_constraints(name)},
            "key": inspector.get_pk_constraint(name)["constrained_columns"],
        }
        for name in sorted(inspector.get_table_names())
    }


def test_twice_is_once(own_database: Database, engine: sa.Engine) -> None:
    settings = own_database.settings()
    assert migrate.current(engine, settings) is None
    assert migrate.upgrade(engine, settings) == migrate.versions()
    made = found(engine)
    assert migrate.upgrade(engine, settings) == []
    assert found(engine) == made
    assert migrate.current(engine, settings) == migrate.versions()[-1]


def is_numbering(difference: Any) -> bool:
    """Alembic takes a column that numbers itself for another, except on PostgreSQL."""
    return isinstance(difference, list) and isinstance(difference[0][-1], sa.Identity)


@pytest.mark.parametrize("prefix", ["", "jm_", "sixteen_letters_"])
def test_the_tables_are_those_that_the_code_names(
    own_database: Database, engine: sa.Engine, prefix: str
) -> None:
    migrate.upgrade(engine, own_database.settings(database__table_prefix=prefix))
    options = {
        "version_table": version_table(prefix),
        "compare_type": True,
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        different = compare_metadata(context, tables(prefix).metadata)
    assert [one for one in different if not is_numbering(one)] == []
    assert set(found(engine)) == {*tables(prefix).metadata.tables, version_table(prefix)}
    names = [
        *tables(prefix).metadata.tables,
        *(n for t in found(engine).values() for n in t["indexes"]),
    ]
    assert max(map(len, names)) <= 63
    for table in tables(prefix).metadata.tables.values():
        assert table.name == table.name.lower()
        with engine.connect() as connection:
            assert connection.execute(table.select()).all() == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_needs_quotes_in_anybodys_queries(kind: str) -> None:
    preparer = sa.make_url(f"{kind}://").get_dialect()().identifier_preparer
    for table in tables("").metadata.tables.values():
        assert [
            one for one in (table.name, *table.columns.keys()) if one != preparer.quote(one)
        ] == []


def test_two_prefixes_live_side_by_side(own_database: Database, engine: sa.Engine) -> None:
    migrate.upgrade(engine, own_database.settings())
    other = own_database.settings(database__table_prefix="other_")
    assert migrate.check(engine, other) == migrate.versions()
    migrate.upgrade(engine, other)
    assert {name.removeprefix("other_") for name in found(engine)} == {
        *tables("").metadata.tables,
        version_table(""),
    }


def test_the_number_of_a_deleted_failure_does_not_come_again(
    own_database: Database, engine: sa.Engine
) -> None:
    migrate.upgrade(engine, own_database.settings())
    failed = tables("").failed_jobs
    row = dict.fromkeys(("uuid", "connection", "queue", "payload", "exception"), "x")
    row |= {"process_id": "71c4", "command_name": "data:process", "failed_at": datetime.now(UTC)}
    numbers = []
    with engine.begin() as connection:
        for _ in range(3):
            connection.execute(failed.insert(), row)
            numbers.append(connection.scalar(sa.select(failed.c.id)))
            connection.execute(failed.delete())
    assert numbers == [1, 2, 3]


def test_a_jobs_status_is_one_of_two(own_database: Database, engine: sa.Engine) -> None:
    migrate.upgrade(engine, own_database.settings())
    now = datetime.now(UTC)
    row = dict.fromkeys(("job_id", "process_id", "command_name", "outcome"), "x")
    row |= {"status": "completed", "created_at": now, "updated_at": now}
    with engine.begin() as connection, pytest.raises(sa.exc.DBAPIError, match="status"):
        connection.execute(tables("").job_metrics.insert(), row)


def test_many_processes_at_once_migrate_once(own_database: Database, engine: sa.Engine) -> None:
    together = [
        subprocess.Popen(
            [sys.executable, "-m", "jobmon.cli.main", "migrate"],
            env=environment(DATABASE_URL=own_database.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [one.communicate(timeout=60) for one in together]
    assert [one.returncode for one in together] == [0, 0, 0, 0], said
    newest = migrate.versions()[-1]
    lines = sorted(out.splitlines()[-1] for out, _ in said)
    assert lines == [f"The schema is {newest}."] * 4
    assert [out.count("Made ") for out, _ in said].count(0) == 3
    assert migrate.current(engine, own_database.settings()) == newest


def test_whoever_comes_second_waits_for_the_first(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    made: list[list[str]] = []
    with own_database.engine() as other, migrate._alone(other, settings) as connection:
        waiting = threading.Thread(target=lambda: made.append(migrate.upgrade(engine, settings)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        connection.exec_driver_sql("SELECT 1")
    waiting.join(30)
    assert made == [migrate.versions()]


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The next version of the schema, which adds a table."""
    here = tmp_path / "with % in it" / "migrations"
    shutil.copytree(migrate.SCRIPTS, here, ignore=shutil.ignore_patterns("__pycache__"))
    newest = migrate.versions()[-1]
    (here / "versions" / "v9000_more.py").write_text(
        "import sqlalchemy as sa\n"
        "from jobmon.history.migrations import steps\n"
        f"revision, down_revision = '9000', {newest!r}\n"
        "def upgrade():\n"
        "    name = f'{steps.table_prefix()}more'\n"
        "    steps.create(sa.Table(name, sa.MetaData(), sa.Column('id', sa.Integer())))\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", here)
    return "9000"


def test_it_goes_as_far_as_it_is_told_and_never_back(
    own_database: Database, engine: sa.Engine, later: str
) -> None:
    settings = own_database.settings()
    first = migrate.versions()[:-1]
    assert migrate.check(engine, settings) == [*first, later]
    assert migrate.upgrade(engine, settings, to=first[-1]) == first
    assert migrate.check(engine, settings) == [later]
    assert "more" not in found(engine)
    assert migrate.upgrade(engine, settings) == [later]
    assert "more" in found(engine)
    with pytest.raises(SchemaError, match="the schema is 9000 already; jobmon does not go back to"):
        migrate.upgrade(engine, settings, to=first[-1])
    with pytest.raises(SchemaError, match="no version '0815' of the schema; there are 0001"):
        migrate.upgrade(engine, settings, to="0815")


def test_a_schema_newer_than_this_jobmon_is_refused(
    own_database: Database, engine: sa.Engine, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = own_database.settings()
    migrate.upgrade(engine, settings)
    monkeypatch.undo()
    newer = "9000, which is newer than this jobmon, whose newest is"
    for refusing in (migrate.upgrade, migrate.check):
        with pytest.raises(SchemaError, match=newer):
            refusing(engine, settings)
    with pytest.raises(SchemaError, match=newer):
        migrate.prepare(settings)


def test_a_server_migrates_or_refuses_another_version(
    own_database: Database, engine: sa.Engine, later: str
) -> None:
    by_hand = own_database.settings(database__auto_migrate=False)
    with pytest.raises(SchemaError, match="is not there, this jobmon needs 9000, and"):
        migrate.prepare(by_hand)
    before = migrate.versions()[-2]
    migrate.upgrade(engine, by_hand, to=before)
    with pytest.raises(SchemaError, match=f"is {before}, this jobmon needs 9000, and"):
        migrate.prepare(by_hand)
    assert migrate.prepare(own_database.settings()) == [later]
    assert migrate.prepare(by_hand) == []


def test_a_table_of_somebody_else_is_left_alone(own_database: Database, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE failed_jobs (id integer, theirs integer)")
        connection.exec_driver_sql("INSERT INTO failed_jobs VALUES (1, 7)")
    with pytest.raises(SchemaError, match=r"has a table failed_jobs already.*table_prefix"):
        migrate.upgrade(engine, own_database.settings())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT theirs FROM failed_jobs").scalar() == 7
    migrate.upgrade(engine, own_database.settings(database__table_prefix="jobmon_"))


def test_what_broke_off_in_the_middle_is_finished(
    own_database: Database, engine: sa.Engine, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = own_database.settings()
    broken = migrate.SCRIPTS / "versions" / "v9000_more.py"
    whole = broken.read_text()
    broken.write_text(f"{whole}    raise RuntimeError('broken off')\n")
    with pytest.raises(RuntimeError, match="broken off"):
        migrate.upgrade(engine, settings)
    broken.write_text(whole)
    # Only MySQL keeps what was done before.
    assert ("job_metrics" in found(engine)) is (own_database.kind == "mysql")
    migrate.upgrade(engine, settings)
    assert migrate.current(engine, settings) == later
    assert migrate.check(engine, settings) == []


def test_steps_that_break_off_after_any_statement_go_on_from_there(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    left = 0

    @sa.event.listens_for(engine, "before_cursor_execute")
    def break_off(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal left
        if statement.split(maxsplit=1)[0] in ("CREATE", "ALTER", "UPDATE", "DROP"):
            left -= 1
            if left < 0:
                raise RuntimeError("broken off")

    left = unbroken = 10_000
    migrate.upgrade(engine, settings, to="0001")
    tries = 0
    while True:
        left = tries = tries + 1
        try:
            migrate.upgrade(engine, settings)
            break
        except RuntimeError:
            continue
    assert tries > 5
    assert migrate.check(engine, settings) == []
    made = found(engine)
    left = unbroken
    with engine.begin() as connection:
        for name in made:
            connection.exec_driver_sql(f"DROP TABLE {name}")
    migrate.upgrade(engine, settings)
    assert found(engine) == made


def test_runs_that_ended_before_the_analysis_kept_note_count_as_judged(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    migrate.upgrade(engine, settings, to="0002")
    insert = (
        "INSERT INTO command_metrics (process_id, command_name, status, run_date, partial, "
        "drained_at, created_at, updated_at) VALUES ({0}, 'c', 'completed', '2025-08-03', {1}, "
        "{2}, '2025-08-03 12:00:00', '2025-08-03 12:00:00')"
    )
    false = "false" if own_database.kind == "postgresql" else "0"
    with engine.begin() as connection:
        for name, drained in (("'ended'", "'2025-08-03 11:00:00'"), ("'running'", "NULL")):
            connection.exec_driver_sql(insert.format(name, false, drained))
    migrate.upgrade(engine, settings)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT process_id, analyzed_at IS NULL FROM command_metrics"
        )
        assert {(name, bool(unknown)) for name, unknown in rows} == {
            ("ended", False),
            ("running", True),
        }


def test_a_table_half_made_by_mysql_gets_its_indexes(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    migrate.upgrade(engine, settings, to="0001")
    made = found(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_job_metrics_created_at ON job_metrics") if (
            own_database.kind == "mysql"
        ) else connection.exec_driver_sql("DROP INDEX ix_job_metrics_created_at")
        connection.exec_driver_sql("DELETE FROM jobmon_version")
    if own_database.kind == "mysql":
        migrate.upgrade(engine, settings, to="0001")
        assert found(engine) == made
    else:  # it is no half-made table: theirs are taken back whole
        with pytest.raises(SchemaError, match="not jobmon's"):
            migrate.upgrade(engine, settings)


def test_the_printed_statements_make_the_same_schema(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    run_by_hand(engine, migrate.sql(settings))
    by_hand = found(engine)
    assert migrate.check(engine, settings) == []
    with engine.begin() as connection:
        for name in by_hand:
            connection.exec_driver_sql(f"DROP TABLE {name}")
    migrate.upgrade(engine, settings)
    assert found(engine) == by_hand


def run_by_hand(engine: sa.Engine, statements: str) -> None:
    """As a database's own shell runs a file."""
    with closing(engine.raw_connection()) as connection:
        lines = [line for line in statements.splitlines() if not line.startswith("--")]
        for statement in "\n".join(lines).split(";"):
            if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                connection.cursor().execute(statement.replace("%", "%%"))
        connection.commit()


def test_statements_between_two_versions_can_be_printed(
    own_database: Database, engine: sa.Engine, later: str
) -> None:
    settings = own_database.settings(database__table_prefix="jm_")
    before = migrate.versions()[-2]
    text = migrate.sql(settings, f"{before}:{later}")
    assert "CREATE TABLE jm_more" in text
    assert "jm_job_metrics" not in text
    with pytest.raises(SchemaError, match="does not go back"):
        migrate.sql(settings, f"{later}:{before}")
    migrate.upgrade(engine, settings, to=before)
    run_by_hand(engine, text)
    assert migrate.check(engine, settings) == []


def test_a_lock_is_given_back_where_migrating_failed(
    own_database: Database, engine: sa.Engine
) -> None:
    settings = own_database.settings()
    with pytest.raises(SchemaError), migrate._alone(engine, settings):
        raise SchemaError("it failed")
    with own_database.engine() as other:
        assert migrate.upgrade(other, settings) == migrate.versions()
    assert isinstance(engine, sa.Engine)
    with database.reached(engine), engine.connect() as connection:
        assert connection.scalar(sa.select(sa.literal(1))) == 1
