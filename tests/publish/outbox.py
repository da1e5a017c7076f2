"""Events as the analysis writes them down, and passes that publish them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.history import migrate
from jobmon.history.schema import Tables, tables
from jobmon.publish.publisher import Published, Publisher
from jobmon.publish.sink import Sink
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.keys import PUBLISH
from jobmon.store.lease import Lease
from tests.conftest import RedisServer
from tests.databases import Database


def event(**more: Any) -> PerformanceAnomalyDetected:
    """One that opens."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "anomaly_id": str(uuid.uuid4()),
        "state": "opened",
        "command_name": "data:process",
        "app": "default",
        "environment": "production",
        "anomaly_type": "performance_degradation",
        "metric": "avg_job_time",
        "anomaly_metrics": {
            "current": 9.4,
            "baseline_avg": 5.1,
            "baseline_std": 0.2,
            "ratio": 1.84,
            "change_percent": 84.3,
        },
        "anomaly_current": 9.4,
        "anomaly_baseline_avg": 5.1,
        "anomaly_severity": "high",
        "change_percent": 84.3,
        "threshold": 1.5,
        "baseline_runs": 60,
        "latest_metric": {"process_id": "71c4", "job_count": 55},
        "process_id": "71c4",
        "trace_id": None,
        "p_value": 1e-6,
        "test": "t",
        "summary": "the 55 jobs of data:process ran 9.4 min in all; those of runs with about as "
        "many usually run 4.8–5.6 min",
        "owner": None,
        "detected_at": datetime(2026, 11, 30, 3, 0, 0, 123, UTC),
    }
    return PerformanceAnomalyDetected(**{**given, **more})


class Outbox:
    """The tables of events, and who delivers what is in them."""

    def __init__(self, settings: Settings, client: Any, engine: sa.Engine) -> None:
        self.settings = settings
        self.client = client
        self.engine = engine
        self.tables: Tables = tables("")

    def add(self, *events: PerformanceAnomalyDetected, body: str | None = None) -> None:
        """Write them down, with their incidents."""
        with self.engine.begin() as connection:
            for one in events:
                self._write(connection, one, body)

    def _write(
        self, connection: sa.Connection, one: PerformanceAnomalyDetected, body: str | None
    ) -> None:
        incidents = self.tables.anomalies
        known = sa.select(incidents.c.id).where(incidents.c.anomaly_id == one.anomaly_id)
        if connection.execute(known).first() is None:
            connection.execute(
                sa.insert(incidents).values(
                    anomaly_id=one.anomaly_id,
                    command_name=one.command_name,
                    app=one.app,
                    environment=one.environment,
                    anomaly_type=one.anomaly_type,
                    metric=one.metric,
                    current=one.anomaly_current,
                    baseline_avg=one.anomaly_baseline_avg,
                    severity=one.anomaly_severity,
                    threshold=one.threshold,
                    detected_at=one.detected_at,
                )
            )
        connection.execute(
            sa.insert(self.tables.anomaly_events).values(
                event_id=one.id,
                anomaly_id=one.anomaly_id,
                state=one.state,
                severity=one.anomaly_severity,
                anomaly_type=one.anomaly_type,
                body=json.dumps(one.to_dict()) if body is None else body,
                created_at=datetime.now(UTC),
            )
        )

    def publisher(self, sinks: Sequence[Sink] | None = None, **more: Any) -> Publisher:
        return Publisher(self.engine, self.client, self.settings, sinks=sinks, **more)

    def publish(self, publisher: Publisher | None = None) -> Published:
        """A pass under the lease."""
        lease = Lease(self.client, self.settings, PUBLISH)
        token = lease.acquire()
        assert token is not None
        try:
            return (publisher or self.publisher()).publish(token)
        finally:
            lease.release(token)

    def deliveries(self) -> list[dict[str, Any]]:
        """In the order of their events."""
        table, events = self.tables.anomaly_deliveries, self.tables.anomaly_events
        found = (
            sa.select(table)
            .join(events, events.c.event_id == table.c.event_id)
            .order_by(events.c.id, table.c.sink)
        )
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(found).mappings()]

    def change(self, **values: Any) -> None:
        """In all deliveries that are to be made, as time would."""
        table = self.tables.anomaly_deliveries
        still_open = (table.c.delivered_at.is_(None), table.c.given_up_at.is_(None))
        with self.engine.begin() as connection:
            connection.execute(sa.update(table).where(*still_open).values(**values))

    def change_events(self, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(self.tables.anomaly_events).values(**values))

    def make_due(self) -> None:
        self.change(next_at=datetime(2000, 1, 1, tzinfo=UTC))

    def stream(self) -> list[str]:
        """Ids of the events in the stream."""
        entries = self.client.xrange(f"{self.settings.redis.prefix}anomalies:events")
        return [fields[b"id"].decode() for _, fields in entries]


@contextmanager
def outbox(store: RedisServer, database: Database, **settings: Any) -> Iterator[Outbox]:
    """One, empty, on that store and in that database."""
    given = database.settings(redis__url=store.url, **settings)
    with database.engine(redis__url=store.url, **settings) as engine:
        migrate.upgrade(engine, given)
        with connection.connect(given) as client:
            yield Outbox(given, client, engine)
