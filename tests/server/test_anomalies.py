"""``anomalies`` on a live server, of rows that an analysis would write."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history import migrate
from jobmon.history.schema import tables
from tests.conftest import RedisServer
from tests.databases import Database
from tests.serving import Served

pytestmark = pytest.mark.live


def row(command: str, severity: str, ago: timedelta, **more: Any) -> dict[str, Any]:
    return {
        "anomaly_id": str(uuid.uuid4()),
        "command_name": command,
        "process_id": str(uuid.uuid4()),
        "anomaly_type": "performance_degradation",
        "metric": "total_time",
        "current": 9.4249,
        "baseline_avg": 5.1,
        "severity": severity,
        "change_percent": None,
        "threshold": 1.5,
        "details": None,
        "detected_at": datetime.now(UTC) - ago,
        **more,
    }


def test_anomalies_are_listed_newest_first_and_filtered(
    store: RedisServer, own_database: Database
) -> None:
    numbers = {
        "baseline_avg": 5.1,
        "baseline_low": 2.55,
        "baseline_high": 7.65,
        "baseline_std": 0.03,
        "baseline_runs": 20,
        "baseline_since": 1754006400,
    }
    known = {
        "details": {"ratio": 1.848, **numbers, "note": "text", "flag": True},
        "change_percent": 84.8,
        "baseline_runs": 20,
        "baseline_until": datetime(2025, 8, 3, tzinfo=UTC),
        "ratio": 1.848,
        "worst_ratio": 1.9,
        "p_value": 1e-9,
        "test": "Student t",
        "summary": "data:process took 9.4 s",
        "trace_id": "ab" * 16,
        "occurrences": 3,
        "state": "resolved",
        "resolution": "recovered",
        "resolved_at": datetime(2025, 8, 3, 12, tzinfo=UTC),
        "last_seen_at": datetime(2025, 8, 3, 11, tzinfo=UTC),
        "owner": "billing",
    }
    rows = [
        row("data:process", "high", timedelta(hours=2), **known),
        row("data:sync", "low", timedelta(hours=1)),
        row("data:process", "low", timedelta(days=40)),
        row("data:process", "low", timedelta(hours=1), state="pending"),
    ]
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine, engine.begin() as connection:
        for one in rows:
            connection.execute(sa.insert(tables("").anomalies), one)
    with Served(store.url, DATABASE_URL=own_database.url) as server:
        data = server.data("anomalies")
        of_one = server.data("anomalies?command=data:process&days=365")
        high = server.data("anomalies?severity=high")
        open_now = server.data("anomalies?state=open")
        refused = server.get("anomalies?severity=awful")
    newest, older = data["anomalies"]["data"]
    assert (newest["command_name"], older["command_name"]) == ("data:sync", "data:process")
    assert older == {
        "id": rows[0]["anomaly_id"],
        "command_name": "data:process",
        "anomaly_type": "performance_degradation",
        "metric": "total_time",
        "anomaly_metrics": {"ratio": 1.85, **numbers},
        "anomaly_current": 9.42,
        "anomaly_baseline_avg": 5.1,
        "anomaly_severity": "high",
        "change_percent": 84.8,
        "threshold": 1.5,
        "baseline_runs": 20,
        "process_id": rows[0]["process_id"],
        "detected_at": f"{rows[0]['detected_at']:%Y-%m-%dT%H:%M:%SZ}",
        "app": "default",
        "environment": "production",
        "summary": "data:process took 9.4 s",
        "baseline": {
            "centre": 5.1,
            "low": 2.55,
            "high": 7.65,
            "spread": 0.03,
            "runs": 20,
            "first_at": "2025-08-01T00:00:00Z",
            "last_at": "2025-08-03T00:00:00Z",
        },
        "ratio": 1.848,
        "p_value": 1e-9,
        "test": "Student t",
        "trace_id": "ab" * 16,
        "owner": "billing",
        "state": "resolved",
        "occurrences": 3,
        "last_seen_at": "2025-08-03T11:00:00Z",
        "worst_ratio": 1.9,
        "escalated_at": None,
        "resolved_at": "2025-08-03T12:00:00Z",
        "resolution": "recovered",
    }
    assert newest["baseline"] is None
    assert [one["id"] for one in open_now["anomalies"]["data"]] == [rows[1]["anomaly_id"]]
    assert (newest["baseline_runs"], newest["anomaly_metrics"]) == (0, {})
    assert (of_one["anomalies"]["total"], of_one["filters"]) == (2, {"command": "data:process"})
    assert [one["id"] for one in high["anomalies"]["data"]] == [rows[0]["anomaly_id"]]
    assert refused.status_code == 422
    assert refused.json()["errors"] == {"severity": ["The selected severity is invalid."]}
