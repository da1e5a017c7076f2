"""What is written down of events on their way: a row for each event and sink that it goes to."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.history.fence import FencedError
from jobmon.inert import inert

if TYPE_CHECKING:
    from jobmon.history.fence import Fence
    from jobmon.history.schema import Tables
    from jobmon.publish.sink import Sink

QUIET_TIME: Final = timedelta(seconds=300)
"""Between two beginnings of one kind of anomaly of one command that anybody is told of."""
_MOST_ADOPTED: Final = 500
_LONGEST_ERROR: Final = 255

_log: Final = logging.getLogger("jobmon.publish")


class Due(NamedTuple):
    """An event that is to be handed to a sink now."""

    event_id: str
    body: str
    """It, as JSON."""
    attempts: int
    """Made before."""
    adopted_at: datetime


class _New(NamedTuple):
    """An event that is not adopted."""

    event_id: str
    anomaly_id: str
    state: str
    body: str
    kind: tuple[Any, ...]
    """Of its anomaly: application, environment, command, type."""


@dataclass(slots=True)
class Adopted:
    """What became of new events."""

    suppressed: int = 0
    """That nobody is told of: they came and went shortly after others of their kind."""
    unreadable: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Deliveries to be made."""
    events: list[str] = field(default_factory=list[str])
    """Ids of all that are adopted, with or without deliveries."""


class Deliveries:
    """All of them. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, tables: Tables, fence: Fence) -> None:
        """Make one.

        Args:
            engine: Of the history.
            tables: Its tables.
            fence: Of the lease under which is published.
        """
        self._engine = engine
        self._fence = fence
        self._events = tables.anomaly_events
        self._anomalies = tables.anomalies
        self._table = tables.anomaly_deliveries
        own = self._table.c
        self.token = 0
        """Of the lease, as of the newest pass: calls that outlast their own mark under it."""
        self._is_open = sa.and_(own.delivered_at.is_(None), own.given_up_at.is_(None))

    def has_new(self) -> bool:
        """Whether events wait to be adopted."""
        events = self._events.c
        with self._engine.connect() as connection:
            found = sa.select(events.id).where(events.adopted_at.is_(None)).limit(1)
            return connection.execute(found).first() is not None

    def due_sinks(self, now: datetime) -> set[str]:
        """Names of those for which something is to be done now."""
        own = self._table.c
        found = sa.select(own.sink).where(self._is_open, own.next_at <= now).distinct()
        with self._engine.connect() as connection:
            return set(connection.execute(found).scalars())

    def waiting(self) -> dict[str, int]:
        """How many are not delivered, and may be, by sink."""
        own = self._table.c
        found = sa.select(own.sink, sa.func.count()).where(self._is_open).group_by(own.sink)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(found)}

    def due(self, sink: str, now: datetime, most: int) -> list[Due]:
        """What a sink is to be given now, the oldest first.

        Of one anomaly, an event waits until those before it are delivered or given up.
        """
        own, events = self._table, self._events
        others, their = own.alias(), events.alias()
        is_behind = (
            sa.select(sa.literal(1))
            .select_from(others.join(their, their.c.event_id == others.c.event_id))
            .where(
                *(others.c.sink == sink, their.c.anomaly_id == events.c.anomaly_id),
                *(their.c.id < events.c.id,),
                *(others.c.delivered_at.is_(None), others.c.given_up_at.is_(None)),
            )
            .exists()
        )
        found = (
            sa.select(own.c.event_id, events.c.body, own.c.attempts, events.c.adopted_at)
            .select_from(own.join(events, events.c.event_id == own.c.event_id))
            .where(own.c.sink == sink, self._is_open, own.c.next_at <= now, ~is_behind)
            .order_by(events.c.id)
            .limit(most)
        )
        with self._engine.connect() as connection:
            return [Due(*row) for row in connection.execute(found)]

    def adopt(self, sinks: Sequence[Sink], now: datetime) -> Adopted:
        """Make a delivery of each new event for each sink that wants it.

        Raises:
            FencedError: Somebody else publishes by now; nothing was written.
        """
        with self._fence.writing(self._engine, self.token) as connection:
            adopted = self._sorted(connection, sinks, now)
            if adopted.rows:
                connection.execute(sa.insert(self._table), adopted.rows)
            if adopted.events:
                events = self._events
                these = events.c.event_id.in_(adopted.events)
                connection.execute(sa.update(events).where(these).values(adopted_at=now))
        return adopted

    def begin(self, sink: str, due: Due, retry_at: datetime) -> bool:
        """Write an attempt down before it is made, with when it is repeated if it is not heard of.

        Returns:
            False: Somebody else has made one meanwhile.

        Raises:
            FencedError: Somebody else publishes by now.
        """
        own = self._table.c
        values = {"attempts": due.attempts + 1, "next_at": retry_at}
        return self._mark(sink, due, own.attempts == due.attempts, values)

    def delivered(self, sink: str, due: Due, now: datetime) -> None:
        """The sink has taken it.

        Raises:
            FencedError: Somebody else publishes by now, and may deliver it again.
        """
        self._mark(sink, due, sa.true(), {"delivered_at": now, "error": None})

    def failed(
        self,
        sink: str,
        due: Due,
        error: str,
        *,
        retry_at: datetime | None,
        now: datetime,
    ) -> None:
        """The sink has not taken it. Without a time to try again, it never will be.

        Raises:
            FencedError: Somebody else publishes by now.
        """
        own = self._table.c
        values: dict[str, Any] = {"error": inert(error, _LONGEST_ERROR)}
        values |= {"given_up_at": now} if retry_at is None else {"next_at": retry_at}
        self._mark(sink, due, own.attempts == due.attempts + 1, values)

    def give_up_on_others(self, sinks: Sequence[str], before: datetime, now: datetime) -> int:
        """Give up what nobody here delivers: how much of what was adopted before that time.

        Raises:
            FencedError: Somebody else publishes by now.
        """
        own, events = self._table.c, self._events.c
        old = sa.select(events.event_id).where(events.adopted_at < before)
        these = (own.sink.not_in(sinks), self._is_open, own.event_id.in_(old))
        values = {"given_up_at": now, "error": "there is no such sink any more"}
        with self._fence.writing(self._engine, self.token) as connection:
            return connection.execute(sa.update(self._table).where(*these).values(values)).rowcount

    def _mark(
        self,
        sink: str,
        due: Due,
        condition: sa.ColumnElement[bool],
        values: dict[str, Any],
    ) -> bool:
        own = self._table.c
        this = (own.event_id == due.event_id, own.sink == sink, self._is_open, condition)
        marking = sa.update(self._table).where(*this).values(values)
        while True:
            token = self.token
            try:
                with self._fence.writing(self._engine, token) as connection:
                    return connection.execute(marking).rowcount == 1
            except FencedError:
                # Only a pass that began meanwhile, of the same server, has changed it.
                if token == self.token:
                    raise

    def _heard(
        self, connection: sa.Connection, anomaly_ids: Sequence[str]
    ) -> defaultdict[str, set[str]]:
        """Names of the sinks that events of these anomalies were for, by anomaly."""
        own, events = self._table, self._events
        found = (
            sa.select(events.c.anomaly_id, own.c.sink)
            .select_from(own.join(events, events.c.event_id == own.c.event_id))
            .where(events.c.anomaly_id.in_(anomaly_ids))
            .distinct()
        )
        names: defaultdict[str, set[str]] = defaultdict(set)
        for anomaly_id, sink in connection.execute(found):
            names[anomaly_id].add(sink)
        return names

    def _sorted(self, connection: sa.Connection, sinks: Sequence[Sink], now: datetime) -> Adopted:
        """What is to be done with new events; those that are held back are left for later."""
        events, anomalies = self._events, self._anomalies
        whose = (anomalies.c.app, anomalies.c.environment, anomalies.c.command_name)
        joined = events.outerjoin(anomalies, anomalies.c.anomaly_id == events.c.anomaly_id)
        columns = (events.c.event_id, events.c.anomaly_id, events.c.state, events.c.body)
        kind = (*whose, events.c.anomaly_type)
        new = (
            sa.select(*columns, *kind)
            .select_from(joined)
            .where(events.c.adopted_at.is_(None))
            .order_by(events.c.id)
            .limit(_MOST_ADOPTED)
        )
        lately = (
            sa.select(*kind)
            .select_from(joined)
            .where(
                *(events.c.state == "opened", events.c.adopted_at > now - QUIET_TIME),
                events.c.event_id.in_(sa.select(self._table.c.event_id)),
            )
        )
        told = {tuple(row) for row in connection.execute(lately)}
        rows = [_New(*row[:4], tuple(row[4:])) for row in connection.execute(new)]
        heard = self._heard(connection, [row.anomaly_id for row in rows])
        held: dict[str, list[_New]] = {}
        adopted = Adopted()
        for row in rows:
            before = held.pop(row.anomaly_id, [])
            if before and row.state == "resolved":
                adopted.events += (one.event_id for one in (*before, row))
                adopted.suppressed += len(before) + 1
            elif not before and row.state == "opened" and row.kind in told:
                held[row.anomaly_id] = [row]
            else:  # also what becomes worse while it is held back
                for one in (*before, row):
                    _take(one, sinks, heard[row.anomaly_id], now, adopted)
                if before or row.state == "opened":
                    told.add(row.kind)
        return adopted


def _take(
    row: _New, sinks: Sequence[Sink], heard: set[str], now: datetime, adopted: Adopted
) -> None:
    """Adopt an event.

    Args:
        row: It.
        sinks: All of them.
        heard: Names of those that were told of its anomaly before; told of its end, too.
        now: This moment.
        adopted: What is added to.
    """
    adopted.events.append(row.event_id)
    try:
        event = PerformanceAnomalyDetected.from_json(row.body)
    except ValueError as error:
        adopted.unreadable += 1
        _log.error("event %s is not told to anybody: %s", row.event_id, inert(error))
        return
    is_end = event.state == "resolved"
    names = [one.name for one in sinks if one.wants(event) or (is_end and one.name in heard)]
    heard.update(names)
    adopted.rows += ({"event_id": row.event_id, "sink": name, "next_at": now} for name in names)
