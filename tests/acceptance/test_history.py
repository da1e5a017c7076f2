"""Acceptance lines of the history, on each database."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from jobmon.history.schema import tables
from tests.databases import Database
from tests.serving import environment

pytestmark = pytest.mark.live

DOCUMENTED = {
    "command_metrics": """
        process_id command_name source job_count success_jobs failed_jobs avg_job_time total_time
        peak_memory run_date environment exit_code revoked_jobs lost_jobs retried_jobs started_at
        finished_at duration trace_id created_at updated_at
    """,
    "job_metrics": """
        job_id process_id command_name execution_time queue_time memory_usage status outcome engine
        queue job_class job_type attempts exception_class started_at finished_at trace_id created_at
        updated_at
    """,
    "failed_jobs": """
        id uuid connection queue payload exception failed_at message process_id command_name
        job_class attempts trace_id claimed_at claimed_by
    """,
    "anomalies": """
        anomaly_id command_name process_id anomaly_type metric current baseline_avg severity
        change_percent threshold details detected_at notified_at
    """,
}
INDEXED = {
    "command_metrics": """
        command_name process_id run_date created_at command_name,started_at,id updated_at
    """,
    "job_metrics": """
        job_id process_id command_name status created_at finished_at,id command_name,finished_at
        process_id,finished_at,id status,finished_at,id
    """,
    "failed_jobs": "uuid failed_at,id queue process_id",
    "anomalies": "anomaly_id process_id,anomaly_type command_name,detected_at severity,detected_at",
}
UNIQUE = {
    "command_metrics": {("process_id",)},
    "job_metrics": {("process_id", "job_id")},
    "job_attempts": {("process_id", "job_id", "attempt")},
    "failed_jobs": {("process_id", "uuid")},
    "anomalies": {("anomaly_id",), ("process_id", "anomaly_type")},
}


def migrated(database: Database) -> str:
    """What ``jobmon migrate`` says."""
    ended = subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "migrate"],
        env=environment(DATABASE_URL=database.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_s23_migrate_makes_every_documented_column_and_index_and_twice_is_once(
    own_database: Database,
) -> None:
    assert "Made 0001." in migrated(own_database)
    with own_database.engine() as engine:
        inspector = sa.inspect(engine)
        for name, columns in DOCUMENTED.items():
            there = {one["name"] for one in inspector.get_columns(name)}
            assert there >= set(columns.split())
        for name, unique in UNIQUE.items():
            keys = inspector.get_unique_constraints(name)
            assert {tuple(one["column_names"]) for one in keys} == unique
        for name, wanted in INDEXED.items():
            served = [one["column_names"] for one in inspector.get_indexes(name)]
            served += [list(one) for one in UNIQUE[name]]
            for columns in wanted.split():
                start = columns.split(",")
                assert any(one[: len(start)] == start for one in served), (name, columns)
    assert "Made" not in migrated(own_database)


def test_s33_job_ids_a_and_A_are_two_rows(own_database: Database) -> None:  # noqa: N802
    migrated(own_database)
    jobs = tables("").job_metrics
    row = {
        "process_id": "71c4",
        "command_name": "data:process",
        "status": "success",
        "outcome": "completed",
        "created_at": datetime.now(UTC),
        "updated_at": datetime.now(UTC),
    }
    with own_database.engine() as engine, engine.begin() as connection:
        connection.execute(jobs.insert(), [{**row, "job_id": one} for one in ("a", "A")])
        assert connection.scalars(sa.select(jobs.c.job_id).order_by(jobs.c.id)).all() == ["a", "A"]
        number = sa.select(sa.func.count()).where(jobs.c.job_id == "A")
        assert connection.scalar(number) == 1
