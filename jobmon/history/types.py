"""Column types that mean the same on SQLite, PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

_EXACT_SECONDS: Final = 2**33
"""Before it, a float tells the microseconds of a moment apart."""
_MOST_SECONDS: Final = 10_000
_BINARY: Final = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A moment with microseconds; in Python always aware and in UTC.

    PostgreSQL ``timestamptz``, MySQL ``DATETIME(6)`` in UTC, SQLite text such as
    ``2025-08-03T12:00:00.000000Z``, whose order as text is the order in time.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's own type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.TEXT())
        if dialect.name == "mysql":
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Any:
        """To the database.

        Raises:
            ValueError: A moment has no time zone, so that nobody knows when it is.
        """
        convert = _BINDERS.get(dialect.name, _utc)
        last: tuple[datetime | None, Any] = None, None

        def bound(value: datetime | None) -> Any:
            # Rows of one batch were written at one moment, the same object.
            nonlocal last
            if value is None:
                return None
            known, converted = last
            if value is not known:
                converted = convert(value)
                last = value, converted
            return converted

        return bound

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value)
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a moment needs a time zone: {value!r}")
    return value.astimezone(UTC)


def _naive(value: datetime) -> datetime:
    return _utc(value).replace(tzinfo=None)


_seconds: Final[dict[int, str]] = {}
"""Texts of the whole seconds that were asked for lately: of most, many jobs ended in each."""


def _text(value: datetime) -> str:
    seconds = _utc(value).timestamp()
    if not 0 <= seconds < _EXACT_SECONDS:
        return f"{_naive(value).isoformat(timespec='microseconds')}Z"
    whole = int(seconds)
    text = _seconds.get(whole)
    if text is None:
        if len(_seconds) >= _MOST_SECONDS:
            _seconds.clear()
        text = _seconds[whole] = _naive(value).isoformat(timespec="seconds")
    return f"{text}.{value.microsecond:06}Z"


_BINDERS: Final = {"sqlite": _text, "mysql": _naive, "mariadb": _naive}


def Name(length: int) -> sa.String:  # noqa: N802 stands where a type stands
    """Text of at most ``length`` characters that differs by case and accents.

    MySQL's usual collations take ``a`` and ``A`` for one, also under a unique key.
    """
    return sa.String(length).with_variant(mysql.VARCHAR(length, **_BINARY), "mysql")


def LongText() -> sa.Text:  # noqa: N802
    """Text of any length; of at most 4 GiB on MySQL, whose ``TEXT`` ends at 64 KiB."""
    return sa.Text().with_variant(mysql.LONGTEXT(**_BINARY), "mysql")


def LongBytes() -> sa.LargeBinary:  # noqa: N802
    """Bytes of any length; of at most 4 GiB on MySQL, whose ``BLOB`` ends at 64 KiB."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")


def BigId() -> sa.BigInteger:  # noqa: N802
    """A row's number. Only an ``INTEGER`` numbers itself on SQLite, where it has 64 bits too."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def Json() -> sa.JSON:  # noqa: N802
    """A JSON value: ``jsonb`` on PostgreSQL, text on SQLite."""
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def Double() -> sa.Double[float]:  # noqa: N802
    """A number of 64 bits."""
    return sa.Double()
