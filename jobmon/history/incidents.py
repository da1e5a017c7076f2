"""Incidents, rows of ``anomalies``: those that are not over, and writing how they went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import sqlalchemy as sa

from jobmon.anomaly import PerformanceAnomalyDetected, Severity
from jobmon.history import database, outbox, runs
from jobmon.history.fence import Fence
from jobmon.history.runs import CommandKey, Judged
from jobmon.store.chunks import chunks

if TYPE_CHECKING:
    from jobmon.history.schema import Tables

REOPENS_WITHIN: Final = 5
"""Runs after its end in which an incident that comes back is the same."""
_ASKED: Final = 500
_PASSED_OVER: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One deviation of one command, from its first run to its last: a row of ``anomalies``."""

    anomaly_id: str
    command_name: str
    app: str
    environment: str
    process_id: str | None
    """The run that began it; of a missed execution, the last one before it."""
    anomaly_type: str
    metric: str
    current: float
    """As the numbers below of the run that differed last."""
    baseline_avg: float
    severity: Severity
    change_percent: float | None
    threshold: float
    details: Mapping[str, float]
    detected_at: datetime
    notified_at: datetime | None = None
    """When its first event was written; None: nobody was told."""
    state: Literal["pending", "open", "resolved"] = "pending"
    summary: str
    ratio: float
    worst_ratio: float
    notified_ratio: float | None = None
    p_value: float | None
    test: str | None
    baseline_runs: int
    trace_id: str | None
    occurrences: int = 1
    """Runs that differed; of a missed execution, those that did not start."""
    last_seen_at: datetime
    last_process_id: str | None
    """Of the latest run that was counted, whether it differed or not."""
    last_started_at: datetime | None
    """Its start."""
    baseline_until: datetime | None
    """Start of the last run before it."""
    escalated_at: datetime | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    recovering: int = 0
    """Normal runs in a row; once it is resolved, runs since."""
    owner: str | None = None

    @property
    def key(self) -> CommandKey:
        """Whose it is."""
        return CommandKey(self.app, self.environment, self.command_name)


class Change(NamedTuple):
    """What becomes of an incident, and what is told of it."""

    before: Incident | None
    after: Incident | None
    """None: it came to nothing."""
    events: tuple[PerformanceAnomalyDetected, ...] = ()


class Incidents:
    """Reads and writes incidents. Safe to share between threads."""

    def __init__(self, engine: sa.Engine, tables: Tables, fence: Fence) -> None:
        self._engine = engine
        self._tables = tables
        self._fence = fence

    def current(self, commands: Sequence[str]) -> dict[CommandKey, list[Incident]]:
        """Incidents of these commands that are not over, or so lately that they may come back.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.anomalies.c
        goes_on = sa.or_(
            own.state.in_(("pending", "open")),
            sa.and_(own.state == "resolved", own.recovering < REOPENS_WITHIN),
        )
        found: dict[CommandKey, list[Incident]] = {}
        for names in chunks(commands, _ASKED):
            chosen = self._chosen(sa.and_(own.command_name.in_(names), goes_on))
            for incident in self._read(chosen.order_by(own.id)):
                found.setdefault(incident.key, []).append(incident)
        return found

    def open(self, anomaly_type: str) -> list[tuple[CommandKey, str | None]]:
        """Of which commands, and since which run, one of a kind is open.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.anomalies.c
        statement = sa.select(own.app, own.environment, own.command_name, own.process_id)
        statement = statement.where(own.state == "open", own.anomaly_type == anomaly_type)
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return [(CommandKey(*row[:3]), row[3]) for row in connection.execute(statement)]

    def told(self, since: datetime, most: int) -> list[Incident]:
        """Those that are open, that somebody was told of, and that were seen since; newest first.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.anomalies.c
        is_told = sa.and_(own.state == "open", own.notified_ratio.is_not(None))
        chosen = self._chosen(sa.and_(is_told, own.last_seen_at >= since))
        return self._read(chosen.order_by(own.last_seen_at.desc(), own.id.desc()).limit(most))

    def of(self, anomaly_ids: Sequence[str]) -> list[Incident]:
        """Those with these ids.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.anomalies.c
        found: list[Incident] = []
        for some in chunks(anomaly_ids, _ASKED):
            found += self._read(self._chosen(own.anomaly_id.in_(some)))
        return found

    def last_event(self) -> int:
        """Number of the last event that was written; 0: there was none.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        statement = sa.select(sa.func.max(self._tables.anomaly_events.c.id))
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return connection.execute(statement).scalar_one() or 0

    def opened(self, after: int, until: int) -> dict[str, int]:
        """How often incidents opened, by kind, as events between two numbers tell.

        Raises:
            DatabaseUnavailable: It cannot be asked.
        """
        own = self._tables.anomaly_events.c
        statement = sa.select(own.anomaly_type, sa.func.count()).group_by(own.anomaly_type)
        statement = statement.where(own.state == "opened", own.id > after, own.id <= until)
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            return {row[0]: row[1] for row in connection.execute(statement)}

    def _chosen(self, which: sa.ColumnElement[bool]) -> sa.Select[Any]:
        own = self._tables.anomalies.c
        return sa.select(*(own[one.name] for one in fields(Incident))).where(which)

    def _read(self, statement: sa.Select[Any]) -> list[Incident]:
        with database.answering(self._engine), self._engine.connect() as connection:
            database.only_read(connection)
            rows = connection.execute(statement).mappings()
            return [Incident(**_filled(row)) for row in rows]

    def write(
        self, token: int, changes: Sequence[Change], judged: Sequence[Judged], at: datetime
    ) -> list[PerformanceAnomalyDetected]:
        """Write all of it, with its events and the note of which runs were judged, or nothing.

        Args:
            token: Of the lease under which it was read.
            changes: No incident twice.
            judged: Runs that need not be judged again.
            at: This moment.

        Returns:
            The events that nobody had written before.

        Raises:
            FencedError: The lease has gone to somebody else.
            sqlalchemy.exc.DBAPIError: The database refuses, or cannot be reached.
            redis.RedisError: The store does not say which one it is.
        """
        new: list[PerformanceAnomalyDetected] = []
        with self._fence.writing(self._engine, token) as connection:
            for change in changes:
                if self._put(connection, change):
                    new += (
                        event
                        for event in change.events
                        if outbox.put(connection, self._tables, event, at)
                    )
            runs.note(connection, self._tables, judged, at)
        return new

    def pass_over(self, token: int, before: datetime, key: CommandKey | None = None) -> int:
        """Note some runs as judged that are too old to be.

        Args:
            token: Of the lease.
            before: Those that started before this moment.
            key: Of one command; None: of all.

        Returns:
            How many; once there are none, it is done.

        Raises:
            FencedError: As of `write`, and so on.
        """
        with self._fence.writing(self._engine, token) as connection:
            return runs.pass_over(connection, self._tables, before, key, _PASSED_OVER)

    def _put(self, connection: sa.Connection, change: Change) -> bool:
        """Whether there was nothing in the way."""
        table = self._tables.anomalies
        before, after = change.before, change.after
        if before is None:
            return after is not None and self._insert(connection, after)
        own = table.c.anomaly_id == before.anomaly_id
        if after is None:
            connection.execute(sa.delete(table).where(own))
        elif after != before:
            connection.execute(sa.update(table).where(own).values(**asdict(after)))
        return True

    def _insert(self, connection: sa.Connection, incident: Incident) -> bool:
        """False: a run that was judged again had begun it once before, and it is over."""
        table = self._tables.anomalies
        known = sa.select(table.c.id).where(
            table.c.process_id == incident.process_id,
            table.c.anomaly_type == incident.anomaly_type,
        )
        if connection.execute(known).first() is not None:
            return False
        connection.execute(sa.insert(table), asdict(incident))
        return True


def _filled(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row, also one of before incidents went on."""
    found = dict(row)
    found["details"] = found["details"] or {}
    found["last_seen_at"] = found["last_seen_at"] or found["detected_at"]
    for name in ("ratio", "worst_ratio"):
        found[name] = 1.0 if found[name] is None else found[name]
    return found
