"""What the steps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.schema import CreateIndex, CreateTable

from jobmon.history.schema import SchemaError

NAMES: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


def table_prefix() -> str:
    """``database.table_prefix``."""
    found: str = context.config.attributes["table_prefix"]
    return found


def create(table: sa.Table) -> None:
    """Make a table and its indexes.

    Raises:
        SchemaError: A table of this name is there, and somebody else's.
    """
    present: set[str | None] = set()
    if not context.is_offline_mode() and _is_there(table):
        present = {one["name"] for one in sa.inspect(op.get_bind()).get_indexes(table.name)}
    else:
        op.execute(CreateTable(table))
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        if index.name not in present:
            op.execute(CreateIndex(index))


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column to a table, unless a step that broke off has."""
    if not context.is_offline_mode():
        present = {one["name"] for one in sa.inspect(op.get_bind()).get_columns(table)}
        if column.name in present:
            return
    op.add_column(table, column)


def add_index(table: str, name: str, columns: Sequence[str], *, where: str = "") -> None:
    """Make an index of a table, unless a step that broke off has.

    Args:
        table: Its name.
        name: What follows the table's in the index's.
        columns: Of the index.
        where: Which rows it is of, all on MySQL; empty: all.
    """
    some: dict[str, Any] = {
        f"{kind}_where": sa.text(where) for kind in ("sqlite", "postgresql") if where
    }
    if not _has_index(table, f"ix_{table}_{name}"):
        op.create_index(f"ix_{table}_{name}", table, columns, **some)


def drop_index(table: str, name: str) -> None:
    """Take an index from a table, unless a step that broke off has."""
    if context.is_offline_mode() or _has_index(table, f"ix_{table}_{name}"):
        op.drop_index(f"ix_{table}_{name}", table)


def _has_index(table: str, name: str) -> bool:
    if context.is_offline_mode():
        return False
    return name in {one["name"] for one in sa.inspect(op.get_bind()).get_indexes(table)}


def _is_there(table: sa.Table) -> bool:
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(table.name):
        return False
    # MySQL keeps what was made before a step broke off; the others take it back.
    columns = {one["name"] for one in inspector.get_columns(table.name)}
    if op.get_bind().dialect.name == "mysql" and columns == set(table.columns.keys()):
        return True
    raise SchemaError(
        f"the database has a table {table.name} already, which is not jobmon's; "
        "set database.table_prefix to keep the two apart"
    )
