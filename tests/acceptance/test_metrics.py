"""The history over HTTP against a live server: S34-S36, S58-S61."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.conftest import RedisServer
from tests.databases import Database
from tests.filled import DAY, Filled, filled
from tests.serving import Served

pytestmark = pytest.mark.live

T1 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def history(own_database: Database) -> Iterator[Filled]:
    """A history on each kind of database in turn."""
    with filled(own_database) as one:
        yield one


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Filled]:
    """A history on SQLite."""
    with databases.made("sqlite", tmp_path) as one, filled(one) as history:
        yield history


def test_s34_dashboard_has_the_documented_keys_and_window(
    history: Filled, store: RedisServer
) -> None:
    run = history.run(jobs=55, seconds=9.42, peak=134_217_728)
    history.run("data:sync", seconds=3.0, peak=50, ago=10 * DAY)
    job = history.jobs(process_id=run)[0]
    history.jobs(2, ago=10 * DAY)
    with Served(store.url, DATABASE_URL=history.url) as server:
        answer = server.get("dashboard")
        wide = server.data("dashboard?days=14")
        of_one = server.data("dashboard?days=14&command=data:sync")
    data = answer.json()["data"]
    assert list(answer.json()) == ["success", "data"]
    assert list(data) == ["summary", "recent_activity", "metrics", "period"]
    today = datetime.now(UTC).date()
    assert data["summary"] == {
        "total_commands": 1,
        "total_jobs": 1,
        "success_jobs": 1,
        "failed_jobs": 0,
        "success_rate": 100,
        "failure_rate": 0,
        "avg_execution_time": 9.42,
        "total_memory_usage": 134_217_728,
        "avg_memory_per_command": 134_217_728,
    }
    assert data["recent_activity"] == {
        "recent_commands": [
            {
                "process_id": run,
                "command_name": "data:process",
                "run_date": (datetime.now(UTC) - timedelta(seconds=60)).date().isoformat(),
                "job_count": 55,
                "success_jobs": 55,
                "failed_jobs": 0,
                "total_time": 9.42,
                "peak_memory": 134_217_728,
            }
        ],
        "recent_jobs": [
            {
                "job_id": job,
                "process_id": run,
                "command_name": "data:process",
                "execution_time": 0.42,
                "memory_usage": 10_485_760,
                "queue_time": 0.03,
                "status": "success",
            }
        ],
    }
    period = data["period"]
    assert period["start_date"] == f"{today - timedelta(days=7)}T00:00:00Z"
    assert T1.fullmatch(period["end_date"])
    assert period["days"] == 7
    assert wide["period"]["start_date"] == f"{today - timedelta(days=14)}T00:00:00Z"
    assert wide["period"]["days"] == 14
    summary = wide["summary"]
    assert (summary["total_commands"], summary["total_jobs"]) == (2, 3)
    assert summary["avg_execution_time"] == 6.21
    assert summary["avg_memory_per_command"] == round((134_217_728 + 50) / 2)
    assert of_one["summary"]["total_commands"] == 1
    assert [one["command_name"] for one in of_one["metrics"]] == ["data:sync"]


def test_s35_rates_add_up_to_a_hundred(light: Filled, store: RedisServer) -> None:
    with Served(store.url, DATABASE_URL=light.url) as server:
        empty = server.data("dashboard")["summary"]
        assert (empty["success_rate"], empty["failure_rate"]) == (0, 0)
        assert set(empty.values()) == {0}
        light.jobs(1240)
        light.jobs(40, "failed")
        for summary in (
            server.data("dashboard")["summary"],
            server.data("job-metrics")["statistics"],
        ):
            assert (summary["total_jobs"], summary["failed_jobs"]) == (1280, 40)
            assert (summary["success_rate"], summary["failure_rate"]) == (96.88, 3.12)


def test_s36_metrics_want_a_command_and_recent_holds_ten(light: Filled, store: RedisServer) -> None:
    for ago in range(12):
        light.run("data:sync" if ago % 2 else "data:process", jobs=ago, seconds=1.0, ago=60 + ago)
    light.jobs(12)
    with Served(store.url, DATABASE_URL=light.url) as server:
        data = server.data("dashboard")
        of_one = server.data("dashboard?command=data:sync")
    recent = data["recent_activity"]
    assert data["metrics"] == []
    assert [one["job_count"] for one in recent["recent_commands"]] == list(range(10))
    assert len(recent["recent_jobs"]) == 10
    assert [one["job_count"] for one in of_one["metrics"]] == [1, 3, 5, 7, 9, 11]
    assert list(of_one["metrics"][0]) == RUN_KEYS
    assert of_one["recent_activity"]["recent_jobs"] == []


RUN_KEYS = [
    *("process_id", "command_name", "source", "total_time", "job_count", "success_jobs"),
    *("failed_jobs", "avg_job_time", "peak_memory", "run_date"),
]
STABLE = {"change": 0, "change_percent": 0, "trend": "stable"}


def test_s58_a_command_is_required_and_an_unknown_one_has_no_runs(
    light: Filled, store: RedisServer
) -> None:
    with Served(store.url, DATABASE_URL=light.url) as server:
        for path in ("command-metrics", "command-metrics?command="):
            answer = server.get(path)
            assert answer.status_code == 422
            assert answer.json() == {
                "success": False,
                "message": "The command field is required.",
                "error": "Unprocessable Entity",
                "errors": {"command": ["The command field is required."]},
            }
        data = server.data("command-metrics?command=nobody")
    assert data["command"] == "nobody"
    assert (data["metrics"]["data"], data["metrics"]["total"]) == ([], 0)
    assert data["trends"] == {"execution_time": STABLE, "job_count": STABLE}


def test_s59_trends_are_of_the_newest_two_runs(history: Filled, store: RedisServer) -> None:
    history.run(jobs=200, seconds=100.0, ago=3 * DAY)
    history.run(jobs=60, seconds=8.2185, ago=2 * DAY)
    history.run(jobs=55, seconds=9.42, ago=DAY)
    history.run("data:other", jobs=1, seconds=1.0)
    with Served(store.url, DATABASE_URL=history.url) as server:
        path = "command-metrics?command=data:process&per_page=1"
        first, last = server.data(path), server.data(f"{path}&page=3")
    expected = {
        "execution_time": {"change": 1.2, "change_percent": 14.62, "trend": "increasing"},
        "job_count": {"change": -5, "change_percent": -8.33, "trend": "decreasing"},
    }
    assert first["trends"] == last["trends"] == expected
    (row,) = first["metrics"]["data"]
    assert list(row) == RUN_KEYS
    assert (row["job_count"], row["total_time"], row["avg_job_time"]) == (55, 9.42, 0.17)
    assert first["metrics"]["total"] == 3
    assert last["metrics"]["data"][0]["job_count"] == 200


def test_s60_statistics_ignore_the_status_and_filters_are_those_given(
    history: Filled, store: RedisServer
) -> None:
    run = str(uuid.uuid4())
    history.jobs(3, process_id=run, seconds=1.0, queue_seconds=None)
    history.jobs(1, "failed", process_id=run, seconds=3.0, queue_seconds=0.123456, memory=2)
    history.jobs(1, "lost", process_id=run, seconds=0.0, memory=0)
    history.jobs(5, command="data:other")
    with Served(store.url, DATABASE_URL=history.url) as server:
        of_run = f"job-metrics?process_id={run.upper()}"
        every, failed = server.data(of_run), server.data(f"{of_run}&status=failed")
        plain = server.data("job-metrics?per_page=4&page=2")
        both = server.data(f"{of_run}&command=data:other")
        refused = server.get("job-metrics?status=completed")
    assert refused.status_code == 422
    assert refused.json()["errors"] == {"status": ["The selected status is invalid."]}
    assert {row["status"] for row in failed["metrics"]["data"]} == {"failed"}
    assert (failed["metrics"]["total"], every["metrics"]["total"]) == (2, 5)
    assert (
        failed["statistics"]
        == every["statistics"]
        == {
            "total_jobs": 5,
            "success_jobs": 3,
            "failed_jobs": 2,
            "success_rate": 60,
            "failure_rate": 40,
            "avg_execution_time": 1.2,
            "avg_queue_time": 0.08,
            "avg_memory_usage": round((3 * 10_485_760 + 2) / 5),
        }
    )
    assert failed["filters"] == {"process_id": run, "status": "failed"}
    assert plain["filters"] == {}
    assert (plain["metrics"]["total"], len(plain["metrics"]["data"])) == (10, 4)
    assert both["metrics"]["total"] == both["statistics"]["total_jobs"] == 0
    times = [row["queue_time"] for row in every["metrics"]["data"]]
    assert sorted(times, key=str) == [0.03, 0.1235, None, None, None]


@pytest.mark.parametrize("path", ["command-metrics?command=x&", "job-metrics?", "anomalies?"])
def test_s61_days_have_a_default_and_bounds(path: str, served: Served) -> None:
    assert served.data(path)["period"]["days"] == 30
    assert served.data(f"{path}days=365")["period"]["days"] == 365
    for wrong, text in (
        ("0", "must be between 1 and 365"),
        ("366", "must be between 1 and 365"),
        ("x", "must be an integer"),
    ):
        answer = served.get(f"{path}days={wrong}")
        assert answer.status_code == 422
        assert answer.json()["errors"] == {"days": [f"The days field {text}."]}


def test_a_job_and_a_run_are_shown_after_the_store_forgot_them(
    history: Filled, store: RedisServer
) -> None:
    run = history.run(jobs=2, failed=1, seconds=1.5, arguments={"a": 1}, host="web-1", schedule="n")
    error = {"class": "ValueError", "message": "bad", "frames": []}
    arguments = {"args": [1], "kwargs": {"password": "[redacted]"}}
    (job,) = history.jobs(1, "failed", process_id=run, error=error, arguments=arguments, attempt=2)
    history.attempt(run, job, error=error)
    (elsewhere,) = history.jobs(1)
    with Served(store.url, DATABASE_URL=history.url) as server:
        command = server.data(f"commands/{run}")
        shown: dict[str, Any] = server.data(f"jobs/{job}")
        same = server.data(f"jobs/{job}?process_id={run}")
        other = server.get(f"jobs/{job}?process_id={uuid.uuid4()}")
        fine = server.data(f"jobs/{elsewhere}")
    assert (command["status"], command["arguments"], command["host"]) == (
        *("completed", {"a": 1}, "web-1"),
    )
    assert command["counters"]["failed_jobs"] == 1
    assert command["counters"]["total_job_time"] == 1.5
    assert shown == same
    assert (shown["process_id"], shown["status"], shown["attempt"]) == (run, "failed", 2)
    assert shown["exception"] == {"type": "ValueError", "message": "bad", "frames": []}
    assert shown["arguments"] == arguments
    assert [one["attempt"] for one in shown["attempts"]] == [1]
    assert shown["attempts"][0]["outcome"] == "retried"
    assert not shown["can_be_retried"]  # its message was not kept
    assert shown["failed_job_id"] >= 1
    assert other.status_code == 404
    assert (fine["status"], fine["can_be_retried"]) == ("completed", False)
    assert (fine["exception"], fine["attempts"]) == (None, [])
