"""Pages of a table, newest first: as far back as one likes, each as fast as the first.

A page begins at a row that is found by counting from the newest, or from the oldest if that is
nearer. Of tables of which there are sums, only the rows of one hour are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa

from jobmon.history.totals import DAY, HOUR, Counted, filed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Select: TypeAlias = sa.Select[*tuple[Any, ...]]

T = TypeVar("T")
_NEAR: Final = 1000
"""Rows that are sooner counted than the sums are asked where to begin."""
_LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())
_OFFSET: Final = sa.bindparam("offset", type_=sa.Integer())
_STATUS: Final = sa.bindparam("status", type_=sa.String(), literal_execute=True)
"""Written into the statement: no parameter is known to be in an index of failed jobs alone."""
_Given: TypeAlias = dict[str, Any]
"""What is asked for, without what is not."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, and how many there are on all pages."""

    rows: list[T]
    total: int


class _Place(NamedTuple):
    """Where a row is."""

    among: _Given
    """What is asked for, perhaps of a shorter time, in which the row is."""
    rows: int
    """How many that are."""
    skip: int
    """Those of them that are newer."""


class Pages(Generic[T]):
    """The pages of one table.

    What is asked for is told by column: the value that rows must have, and ``since``, the moment
    from which on. A value of None asks for nothing. Where there are sums, ``since`` is a midnight
    in UTC, and a name is not empty.
    """

    def __init__(
        self,
        table: sa.Table,
        at: str,
        row: Callable[..., T],
        columns: Sequence[str],
        sums: tuple[sa.Table, Counted] | None = None,
        shown: sa.ColumnElement[bool] | None = None,
    ) -> None:
        """Make them.

        Args:
            table: With the columns ``at`` and ``id``.
            at: The moment by which rows are in order.
            row: Makes what is answered of the values of ``columns``.
            columns: Of the table.
            sums: The table of the sums over it, and how they are kept, if there are any.
            shown: What every row that is shown has; None: all are.
        """
        self._table = table
        self._at = table.c[at]
        self._order = self._at.desc(), table.c.id.desc()
        self._row = row
        self._columns = [table.c[name] for name in columns]
        self._sums = sums
        self._shown = () if shown is None else (shown,)
        self._made: dict[tuple[str, ...], Select] = {}

    def page(
        self, connection: sa.Connection, asked: Mapping[str, Any], offset: int, limit: int
    ) -> Page[T]:
        """One page.

        Args:
            connection: One that reads at one moment, if ``offset`` is not 0.
            asked: What rows must have.
            offset: Rows that are newer than the page.
            limit: Most rows on it, at least 1.
        """
        given = _given(asked)
        if not offset:
            return self._first(connection, given, limit)
        place, total = self._place(connection, given, offset)
        beginning = None if place is None else self._beginning(connection, place)
        if beginning is None:
            return Page([], total)
        at, number = beginning
        values = {**given, "at": at, "id": number, "limit": limit}
        found = connection.execute(self._kept(self._from_one_on, given), values)
        return Page([self._row(*one) for one in found], total)

    def newest(self, connection: sa.Connection, asked: Mapping[str, Any], limit: int) -> list[T]:
        """The rows of the first page, without the total."""
        given = _given(asked)
        found = connection.execute(self._kept(self._newest, given), {**given, "limit": limit})
        return [self._row(*one) for one in found]

    def _first(self, connection: sa.Connection, given: _Given, limit: int) -> Page[T]:
        # One statement is of one moment by itself, and sooner answered than two.
        statement = self._kept(self._newest_and_total, given)
        found = connection.execute(statement, {**given, "limit": limit}).all()
        rows = [self._row(*one[2:]) for one in found if one[1] is not None]
        return Page(rows, int(found[0][0]))

    def _place(
        self, connection: sa.Connection, given: _Given, offset: int
    ) -> tuple[_Place | None, int]:
        """Where the row is before which there are so many, if there is one, and the total."""
        if offset < _NEAR or not self._is_summed(given):
            total = int(connection.scalar(self._kept(self._total, given), given) or 0)
            return (_Place(given, total, offset) if offset < total else None), total
        days = self._rows_of(connection, self._by_day, given)
        place = _within(given, days, timedelta(days=1), offset)
        if place is not None:
            hours = self._rows_of(connection, self._by_hour, place.among)
            place = _within(given, hours, timedelta(hours=1), place.skip)
        return place, sum(rows for _, rows in days)

    def _rows_of(
        self, connection: sa.Connection, make: Callable[[_Given], Select], given: _Given
    ) -> list[tuple[datetime, int]]:
        """When each period begins, and how many rows it has; the newest first."""
        found = connection.execute(self._kept(make, given), given)
        return [(one[0], int(one[1])) for one in found]

    def _beginning(self, connection: sa.Connection, place: _Place) -> tuple[datetime, int] | None:
        """Moment and number of the row; None: somebody deleted rows without a word to the sums."""
        among, rows, skip = place
        if skip > rows // 2:
            statement, skip = self._kept(self._from_the_oldest, among), rows - skip - 1
        else:
            statement = self._kept(self._from_the_newest, among)
        found = connection.execute(statement, {**among, "offset": skip}).first()
        return None if found is None else (found[0], found[1])

    # Statements, made once for all questions that differ in values alone.

    def _kept(self, make: Callable[[_Given], Select], given: _Given) -> Select:
        key = make.__name__, *given
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = make(given)
        return made

    def _conditions(self, given: _Given) -> list[sa.ColumnElement[bool]]:
        at, own = self._at, self._table.c
        of_time = {"since": at >= sa.bindparam("since"), "until": at < sa.bindparam("until")}
        asked = (
            of_time[name]
            if name in of_time
            else own[name] == (_STATUS if name == "status" else sa.bindparam(name))
            for name in given
        )
        return [*self._shown, *asked]

    def _newest(self, given: _Given) -> Select:
        rows = sa.select(*self._columns).where(*self._conditions(given))
        return rows.order_by(*self._order).limit(_LIMIT)

    def _newest_and_total(self, given: _Given) -> Select:
        number = self._table.c.id
        newest = sa.select(number, self._at).where(*self._conditions(given))
        newest = newest.order_by(*self._order).limit(_LIMIT).subquery("newest")
        total = self._total(given).subquery("total")
        both = total.outerjoin(newest, sa.true()).outerjoin(self._table, number == newest.c.id)
        found = sa.select(*total.c, newest.c.id, *self._columns).select_from(both)
        return found.order_by(newest.c[self._at.name].desc(), newest.c.id.desc())

    def _from_one_on(self, given: _Given) -> Select:
        at, number = self._at, self._table.c.id
        # Not as a pair: MySQL would walk the index from its end.
        older = at < sa.bindparam("at"), number <= sa.bindparam("id")
        return self._newest(given).where(at <= sa.bindparam("at"), sa.or_(*older))

    def _from_the_newest(self, given: _Given) -> Select:
        rows: Select = sa.select(self._at, self._table.c.id).where(*self._conditions(given))
        return rows.order_by(*self._order).limit(1).offset(_OFFSET)

    def _from_the_oldest(self, given: _Given) -> Select:
        rows: Select = sa.select(self._at, self._table.c.id).where(*self._conditions(given))
        return rows.order_by(self._at, self._table.c.id).limit(1).offset(_OFFSET)

    def _total(self, given: _Given) -> Select:
        if self._is_summed(given):
            _, number, conditions = self._filed(given, DAY)
            total: Select = sa.select(sa.func.coalesce(sa.func.sum(number), 0))
            return total.where(*conditions)
        rows: Select = sa.select(sa.func.count()).select_from(self._table)
        return rows.where(*self._conditions(given))

    def _by_day(self, given: _Given) -> Select:
        return self._by_period(given, DAY)

    def _by_hour(self, given: _Given) -> Select:
        return self._by_period(given, HOUR)

    def _by_period(self, given: _Given, period: str) -> Select:
        begins_at, number, conditions = self._filed(given, period)
        rows: Select = sa.select(begins_at, number).where(*conditions)
        return rows.order_by(begins_at.desc())

    def _is_summed(self, given: _Given) -> bool:
        if self._sums is None:
            return False
        _, counted = self._sums
        return given.keys() <= {"since", "status", counted.name}

    def _filed(
        self, given: _Given, period: str
    ) -> tuple[sa.Column[Any], sa.ColumnElement[int], list[sa.ColumnElement[bool]]]:
        """When a period begins, the sum that tells its rows, and which periods are asked for."""
        assert self._sums is not None
        totals, counted = self._sums
        own = totals.c
        conditions = filed(totals, counted, period, *given)
        if "status" not in given:
            return own.begins_at, own.n, conditions
        is_failed = _STATUS == "failed"
        rows = sa.case((is_failed, own.failed), else_=own.n - own.failed)
        return own.begins_at, rows, conditions


def _given(asked: Mapping[str, Any]) -> _Given:
    return {name: value for name, value in asked.items() if value is not None}


def _within(
    given: _Given, sums: list[tuple[datetime, int]], long: timedelta, skip: int
) -> _Place | None:
    """The period of that row, and how many newer rows it has."""
    for begins_at, rows in sums:
        if skip < rows:
            return _Place({**given, "since": begins_at, "until": begins_at + long}, rows, skip)
        skip -= rows
    return None
