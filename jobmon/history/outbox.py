"""Events of anomalies on their way out: written with what they tell of, delivered afterwards."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from jobmon.anomaly import PerformanceAnomalyDetected
    from jobmon.history.schema import Tables


def put(
    connection: sa.Connection,
    tables: Tables,
    event: PerformanceAnomalyDetected,
    created_at: datetime,
) -> bool:
    """Write an event, in a transaction under a fence, unless it was written before.

    Returns:
        Whether it is a new one.
    """
    own = tables.anomaly_events
    known = sa.select(own.c.id).where(own.c.event_id == event.id)
    if connection.execute(known).first() is not None:
        return False
    row = {
        "event_id": event.id,
        "anomaly_id": event.anomaly_id,
        "state": event.state,
        "severity": event.anomaly_severity,
        "anomaly_type": event.anomaly_type,
        "body": json.dumps(event.to_dict(), ensure_ascii=False, separators=(",", ":")),
        "created_at": created_at,
    }
    connection.execute(sa.insert(own), row)
    return True
