"""What is written comes back the same, on each database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import StatementError

from jobmon.history.types import BigId, Double, Json, LongBytes, LongText, Name, UtcDateTime
from tests.databases import Database

METADATA = sa.MetaData()
SAMPLES = sa.Table(
    "samples",
    METADATA,
    sa.Column("id", BigId(), sa.Identity(), primary_key=True),
    sa.Column("moment", UtcDateTime()),
    sa.Column("name", Name(255), unique=True),
    sa.Column("number", sa.BigInteger()),
    sa.Column("seconds", Double()),
    sa.Column("text", LongText()),
    sa.Column("bytes", LongBytes()),
    sa.Column("json", Json()),
)


def stored(connection: sa.Connection, *rows: dict[str, object]) -> list[sa.Row]:
    connection.execute(SAMPLES.insert(), rows)
    return list(connection.execute(SAMPLES.select().order_by(SAMPLES.c.id)))


def test_a_moment_comes_back_aware_in_utc_with_its_microseconds(own_database: Database) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    moments = [
        datetime(2025, 8, 3, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(2025, 8, 3, 12, 0, 0, 0, tzinfo=UTC),
        datetime(2025, 3, 30, 2, 30, 0, 1, tzinfo=east),
        datetime(1970, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        None,
    ]
    with own_database.engine() as engine, engine.begin() as connection:
        METADATA.create_all(connection)
        found = [row.moment for row in stored(connection, *({"moment": one} for one in moments))]
        assert found == moments
        assert all(one.utcoffset() == timedelta(0) for one in found if one is not None)
        past = sa.select(SAMPLES.c.moment).where(SAMPLES.c.moment <= moments[1])
        ordered = connection.scalars(past.order_by(SAMPLES.c.moment)).all()
        assert ordered == [moments[3], moments[2], moments[1]]


def test_a_moment_without_a_zone_is_refused(own_database: Database) -> None:
    with own_database.engine() as engine, engine.begin() as connection:
        METADATA.create_all(connection)
        with pytest.raises(StatementError, match="a moment needs a time zone"):
            stored(connection, {"moment": datetime(2025, 8, 3)})  # noqa: DTZ001


def test_names_differ_by_case_and_accents(own_database: Database) -> None:
    names = ["a", "A", "á", "日本", "🎉", "ß", "ss"]
    with own_database.engine() as engine, engine.begin() as connection:
        METADATA.create_all(connection)
        assert [row.name for row in stored(connection, *({"name": one} for one in names))] == names
        assert connection.scalars(sa.select(SAMPLES.c.id).where(SAMPLES.c.name == "A")).all() == [2]


def test_numbers_texts_and_bytes_come_back_whole(own_database: Database) -> None:
    row = {
        "number": 2**63 - 1,
        "seconds": 0.1 + 0.2,
        "text": "é" * 70_000,
        "bytes": bytes(range(256)) * 300,
        "json": {"a": [1, 2.5, None, "é🎉"], "b": {}},
    }
    with own_database.engine() as engine, engine.begin() as connection:
        METADATA.create_all(connection)
        (found,) = stored(connection, row)
        assert {name: found._mapping[name] for name in row} == row
        assert found.id == 1
