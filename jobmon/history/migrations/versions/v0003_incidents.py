"""Deviations that last, the events of their turns, and which runs were judged."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from jobmon.history.migrations import steps
from jobmon.history.types import BigId, Double, LongText, Name, UtcDateTime

revision = "0003"
down_revision = "0002"

_MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_default_charset": "utf8mb4"}


def upgrade() -> None:
    """Add columns to runs and deviations, and make the tables of events."""
    prefix = steps.table_prefix()
    runs, anomalies = f"{prefix}command_metrics", f"{prefix}anomalies"
    for column in (sa.Column("queue_time", Double()), sa.Column("analyzed_at", UtcDateTime())):
        steps.add_column(runs, column)
    _take_for_judged(runs)
    columns = ("analyzed_at", "command_name", "started_at")
    steps.add_index(runs, "not_analyzed", columns, where="analyzed_at IS NULL")
    for column in _of_incidents():
        steps.add_column(anomalies, column)
    steps.add_index(anomalies, "state_command_name", ("state", "command_name"))
    metadata = sa.MetaData(naming_convention=steps.NAMES)
    steps.create(_events(metadata, prefix))
    steps.create(_deliveries(metadata, prefix))


def _take_for_judged(runs: str) -> None:
    """Those that have ended: an upgrade raises no alarm about what is long over."""
    names = ("analyzed_at", "drained_at")
    table = sa.table(runs, *(sa.column(name, UtcDateTime()) for name in names))
    ended = table.c.analyzed_at.is_(None), table.c.drained_at.is_not(None)
    op.execute(sa.update(table).where(*ended).values(analyzed_at=table.c.drained_at))


def _needed(name: str, kind: Any, default: str | None = None) -> sa.Column[Any]:
    given = None if default is None else sa.text(default)
    return sa.Column(name, kind, nullable=False, server_default=given)


def _id() -> sa.Column[int]:
    return sa.Column("id", BigId(), sa.Identity(), primary_key=True)


def _of_incidents() -> list[sa.Column[Any]]:
    return [
        _needed("state", Name(8), "'open'"),
        _needed("summary", Name(500), "''"),
        sa.Column("ratio", Double()),
        sa.Column("worst_ratio", Double()),
        sa.Column("notified_ratio", Double()),
        sa.Column("p_value", Double()),
        sa.Column("test", Name(64)),
        _needed("baseline_runs", sa.Integer(), "0"),
        sa.Column("trace_id", Name(32)),
        _needed("occurrences", sa.Integer(), "1"),
        sa.Column("last_seen_at", UtcDateTime()),
        sa.Column("last_process_id", Name(36)),
        sa.Column("last_started_at", UtcDateTime()),
        sa.Column("baseline_until", UtcDateTime()),
        sa.Column("escalated_at", UtcDateTime()),
        sa.Column("resolved_at", UtcDateTime()),
        sa.Column("resolution", Name(16)),
        _needed("recovering", sa.Integer(), "0"),
        sa.Column("owner", Name(255)),
    ]


def _events(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}anomaly_events",
        metadata,
        _id(),
        _needed("event_id", Name(36)),
        _needed("anomaly_id", Name(36)),
        _needed("state", Name(12)),
        _needed("severity", Name(8)),
        _needed("anomaly_type", Name(32)),
        _needed("body", LongText()),
        _needed("created_at", UtcDateTime()),
        sa.Column("adopted_at", UtcDateTime()),
        sa.UniqueConstraint("event_id"),
        sa.Index(None, "anomaly_id"),
        sa.Index(None, "adopted_at", "id"),
        **_MYSQL,
    )


def _deliveries(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}anomaly_deliveries",
        metadata,
        _id(),
        _needed("event_id", Name(36)),
        _needed("sink", Name(80)),
        _needed("attempts", sa.Integer(), "0"),
        _needed("next_at", UtcDateTime()),
        sa.Column("delivered_at", UtcDateTime()),
        sa.Column("given_up_at", UtcDateTime()),
        sa.Column("error", Name(255)),
        sa.UniqueConstraint("event_id", "sink"),
        sa.Index(
            f"ix_{prefix}anomaly_deliveries_due",
            *("sink", "delivered_at", "given_up_at", "next_at"),
        ),
        **_MYSQL,
    )
