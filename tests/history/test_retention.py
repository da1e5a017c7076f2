"""What is old leaves the history, in small transactions, and nothing else does."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history import migrate, retention
from jobmon.history.retention import Retention, prune
from jobmon.history.schema import tables
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.serving import Served, until

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
OWN = tables("")
Engine = sa.Engine


@pytest.fixture(autouse=True)
def _without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def times(finished: float | None, started: float | None, created: float) -> dict[str, Any]:
    """Of a row, in days before now."""
    return {
        "finished_at": None if finished is None else ago(finished),
        "started_at": None if started is None else ago(started),
        "created_at": ago(created),
    }


def job(name: str, **more: Any) -> dict[str, Any]:
    row = {"job_id": name, "process_id": "p", "command_name": "c", "status": "success"}
    return row | {"outcome": "completed", "updated_at": NOW} | more


def run(name: str, **more: Any) -> dict[str, Any]:
    row = {"process_id": name, "command_name": "c", "status": "completed", "partial": False}
    return row | {"run_date": NOW.date(), "updated_at": NOW} | more


def attempt(name: str, **more: Any) -> dict[str, Any]:
    return {"process_id": "p", "job_id": name, "attempt": 1, "status": "failed"} | more


def anomaly(name: str, ended: float | None, detected: float = 40) -> dict[str, Any]:
    return {
        "state": "open" if ended is None else "resolved",
        "resolved_at": None if ended is None else ago(ended),
        "anomaly_id": name,
        "process_id": name,
        "command_name": "c",
        "anomaly_type": "performance",
        "metric": "duration",
        "current": 2.0,
        "baseline_avg": 1.0,
        "threshold": 0.5,
        "severity": "low",
        "detected_at": ago(detected),
    }


def event(name: str) -> dict[str, Any]:
    row = {"event_id": name, "anomaly_id": name, "state": "opened", "severity": "low"}
    return row | {"anomaly_type": "performance", "body": "{}", "created_at": ago(40)}


def filled(engine: sa.Engine, **rows: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        for name, some in rows.items():
            for one in some:
                connection.execute(sa.insert(getattr(OWN, name)), one)


def left(engine: sa.Engine, table: str, column: str) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(sa.select(getattr(OWN, table).c[column])).scalars())


CASES = {
    "old": times(31, 32, 31),
    "old, copied late": times(31, 32, 1),
    "young": times(29, 40, 40),
    "unended, old": times(None, 31, 1),
    "unended, young": times(None, 29, 40),
    "of unknown times, old": times(None, None, 31),
    "of unknown times, young": times(None, None, 29),
}
OLD = {name for name in CASES if name.startswith(("old", "unended, old", "of unknown times, old"))}
JOBS = {name for name in CASES if name.startswith(("old", "young"))}
"""None is without an end."""
RUNS = JOBS | {name for name in CASES if name.startswith("unended")}
"""None is without a start."""


def test_rows_are_as_old_as_their_end_else_their_start_else_themselves(
    own_database: Database,
) -> None:
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        filled(
            engine,
            job_metrics=[job(name, **CASES[name]) for name in JOBS],
            command_metrics=[run(name, **CASES[name]) for name in RUNS],
            job_attempts=[attempt(name, **own) for name, own in CASES.items()],
            anomalies=[anomaly("old", 31), anomaly("young", 29), anomaly("open", None)],
            anomaly_events=[event(name) for name in ("old", "young", "open")],
            anomaly_deliveries=[
                {"event_id": name, "sink": "stream", "next_at": ago(40)}
                for name in ("old", "young", "open")
            ],
        )
        pruned = prune(engine, OWN, 30, now=NOW)
        young = CASES.keys() - OLD
        assert left(engine, "job_metrics", "job_id") == JOBS - OLD
        assert left(engine, "command_metrics", "process_id") == RUNS - OLD
        assert left(engine, "job_attempts", "job_id") == young
        assert left(engine, "anomalies", "anomaly_id") == {"young", "open"}
        assert left(engine, "anomaly_events", "event_id") == {"young", "open"}
        assert left(engine, "anomaly_deliveries", "event_id") == {"young", "open"}
        assert pruned == {
            "job_metrics": len(JOBS & OLD),
            "command_metrics": len(RUNS & OLD),
            "job_attempts": len(OLD),
            "anomalies": 1,
            "anomaly_events": 1,
            "anomaly_deliveries": 1,
        }
        assert not any(prune(engine, OWN, 30, now=NOW).values())


def test_transactions_are_small_and_walk_past_all_that_stays(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 4)
    monkeypatch.setattr(retention, "_WINDOW", 7)
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        mixed = [(f"{n:02}", times(*(31, 31, 31) if n % 3 else (1, 1, 1))) for n in range(30)]
        filled(
            engine,
            job_metrics=[job(name, **own) for name, own in mixed],
            command_metrics=[run(name, **own) for name, own in mixed],
        )
        deleted: list[int] = []

        @sa.event.listens_for(engine, "after_cursor_execute")
        def count(_conn: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("DELETE"):
                deleted.append(cursor.rowcount)

        prune(engine, OWN, 30, now=NOW)
        young = {f"{n:02}" for n in range(0, 30, 3)}
        assert left(engine, "job_metrics", "job_id") == young
        assert left(engine, "command_metrics", "process_id") == young
    assert sum(deleted) == 40
    assert 0 < max(deleted) <= 4


def test_a_row_that_is_young_again_when_its_turn_comes_stays(own_database: Database) -> None:
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        filled(engine, job_metrics=[job("again", **times(31, 31, 31))])
        renewed = False

        @sa.event.listens_for(engine, "before_cursor_execute")
        def renew(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            nonlocal renewed
            if statement.endswith("FOR UPDATE") and not renewed:  # SQLite lets one write at a time
                renewed = True
                with own_database.engine() as other, other.connect() as connection:
                    connection.execute(sa.update(OWN.job_metrics), {"finished_at": NOW})
                    connection.commit()

        prune(engine, OWN, 30, now=NOW)
        kept = {"again"} if own_database.kind != "sqlite" else set[str]()
        assert left(engine, "job_metrics", "job_id") == kept


def test_nothing_further_is_deleted_once_it_is_to_stop(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS", 2)
    stop = threading.Event()
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        filled(engine, job_metrics=[job(str(n), **times(31, 31, 31)) for n in range(6)])
        stop.set()
        assert prune(engine, OWN, 30, now=NOW, stop=stop) == {"job_metrics": 2}


def test_it_is_done_once_a_day_and_never_without_a_limit(
    own_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.prepare(own_database.settings())
    with own_database.engine() as engine:
        kept = [times(10_000, 10_000, 10_000)]

        def turn(days: int) -> Retention:
            settings = own_database.settings(history__retention_days=days)
            made = Retention(engine, OWN, settings, threading.Event())
            made.turn()
            return made

        filled(engine, job_metrics=[job("first", **kept[0])])
        turn(0)
        assert left(engine, "job_metrics", "job_id") == {"first"}
        again = turn(30)
        assert left(engine, "job_metrics", "job_id") == set()
        filled(engine, job_metrics=[job("second", **kept[0])])
        again.turn()
        assert left(engine, "job_metrics", "job_id") == {"second"}
        clock = retention.time.monotonic() + 86_401
        monkeypatch.setattr(retention.time, "monotonic", lambda: clock)
        again.turn()
        assert left(engine, "job_metrics", "job_id") == set()


@pytest.mark.live
def test_a_server_prunes_by_itself(store: RedisServer, tmp_path: Path) -> None:
    with made("sqlite", tmp_path) as one:
        migrate.prepare(one.settings())
        with one.engine() as engine:
            filled(engine, job_metrics=[job("old", **times(31, 31, 31))])
            with Served(store.url, DATABASE_URL=one.url, HISTORY_RETENTION_DAYS="1"):
                until(lambda: not left(engine, "job_metrics", "job_id"), 90)
