"""The analysis against a live server and by the CLI: S62-S67, S74-S76."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa

from tests import databases
from tests.conftest import RedisServer
from tests.databases import Database
from tests.filled import Filled, filled
from tests.serving import OPERATE, READ, TOKENS, Served, bearer, environment, until

pytestmark = pytest.mark.live

HOUR = 3600.0
SUMMARY = [
    "total_anomalies",
    "performance_degradations",
    "performance_improvements",
    "workload_anomalies",
    "failure_rate_anomalies",
    "critical_anomalies",
    "high_anomalies",
    "medium_anomalies",
    "low_anomalies",
]
DATA = ["timestamp", "anomalies_detected", "commands_analyzed", "errors", "warnings", "summary"]
DOCUMENTED = {
    *("id", "command_name", "anomaly_type", "metric", "anomaly_metrics", "anomaly_current"),
    *("anomaly_baseline_avg", "anomaly_severity", "change_percent", "threshold", "baseline_runs"),
    *("process_id", "detected_at"),
}


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


def usual(
    history: Filled,
    command: str,
    *,
    runs: int = 20,
    jobs: int = 100,
    failed: int = 0,
    seconds: float = 50.0,
    until_ago: float = 0.0,
) -> None:
    """Runs that are all alike, one an hour."""
    for n in range(runs, 0, -1):
        history.run(command, jobs=jobs, failed=failed, seconds=seconds, ago=until_ago + n * HOUR)


def served(history: Filled, store: RedisServer, *options: str, **more: str) -> Served:
    """A server that judges only when it is asked to."""
    own = {"DATABASE_URL": history.url, "AUTH_TOKENS": TOKENS, **more}
    return Served(store.url, *(options or ("--no-schedule",)), **own)


def analyze(server: Served, body: Any = None, token: str = OPERATE) -> httpx.Response:
    return server.client.post(
        "/api/job-monitor/analysis", json=body, headers=bearer(token), timeout=70
    )


def test_s62_the_answer_has_the_documented_keys_whose_sums_agree(
    history: Filled, store: RedisServer
) -> None:
    for command in ("data:slow", "data:fast", "data:same"):
        usual(history, command)
    slow = history.run("data:slow", jobs=100, seconds=150.0, ago=60)
    history.run("data:fast", jobs=100, seconds=10.0, ago=60)
    history.run("data:same", jobs=100, seconds=50.0, ago=60)
    with served(history, store) as server:
        answer = analyze(server)
        kept = server.get("anomalies", headers=bearer(READ)).json()["data"]["anomalies"]["data"]
        assert analyze(server, token=READ).status_code == 403
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert list(data)[:6] == DATA
    summary = data["summary"]
    assert list(summary) == SUMMARY
    kinds, severities = SUMMARY[1:5], SUMMARY[5:]
    assert sum(summary[one] for one in kinds) == summary["total_anomalies"] == 2
    assert sum(summary[one] for one in severities) == 2
    assert data["anomalies_detected"] == len(data["anomalies"]) == 2
    assert data["commands_analyzed"] == 3
    assert data["errors"] == []
    found = {one["command_name"]: one for one in data["anomalies"]}
    assert found.keys() == {"data:slow", "data:fast"}
    one = found["data:slow"]
    assert one.keys() >= DOCUMENTED
    assert (one["process_id"], one["metric"]) == (slow, "avg_job_time")
    assert one["anomaly_current"] == 1.5
    assert one["anomaly_baseline_avg"] == pytest.approx(0.5, abs=0.01)
    numbers = one["anomaly_metrics"]
    assert {"current", "baseline_avg", "baseline_std", "ratio", "change_percent"} <= numbers.keys()
    assert 0 <= one["p_value"] < 0.01
    assert one["summary"].startswith("the 100 jobs of data:slow ran 2.5 min in all; ")
    assert found["data:fast"]["anomaly_severity"] == "low"
    (incident,) = (entry for entry in kept if entry["id"] == one["id"])
    assert incident["baseline"] == one["baseline"]


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [(150.0, "performance_degradation"), (50.0 / 3, "performance_improvement"), (50.0, None)],
)
def test_s63_a_run_three_times_slower_or_faster_is_an_anomaly(
    seconds: float, kind: str | None, light: Filled, store: RedisServer
) -> None:
    usual(light, "data:process")
    light.run("data:process", jobs=100, seconds=seconds, ago=60)
    with served(light, store) as server:
        data = analyze(server, {"command": "data:process"}).json()["data"]
    assert [one["anomaly_type"] for one in data["anomalies"]] == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        ({"jobs": 400, "failed": 4, "seconds": 200.0}, "workload_spike"),
        ({"jobs": 25, "seconds": 12.5}, "workload_drop"),
        ({"jobs": 100, "failed": 30, "seconds": 50.0}, "failure_rate_spike"),
        ({"jobs": 100, "failed": 1, "seconds": 50.0}, None),
    ],
)
def test_s64_so_are_jobs_and_failures_that_differ(
    run: dict[str, Any], kind: str | None, light: Filled, store: RedisServer
) -> None:
    usual(light, "data:process", failed=1)
    light.run("data:process", ago=60, **run)
    with served(light, store) as server:
        data = analyze(server).json()["data"]
    assert [one["anomaly_type"] for one in data["anomalies"]] == ([kind] if kind else [])
    assert data["summary"]["total_anomalies"] == (kind is not None)


def test_s65_a_command_that_falls_silent_is_missed_and_counted_nowhere(
    history: Filled, store: RedisServer
) -> None:
    usual(history, "data:sync", until_ago=30 * HOUR)
    with served(history, store) as server:
        data = analyze(server).json()["data"]
        assert data["warnings"] == ["Missed scheduled executions detected: data:sync"]
        (missed,) = data["missed_executions"]
        assert missed["command_name"] == "data:sync"
        assert missed["hours_since_last_run"] == pytest.approx(31, abs=0.1)
        assert missed["expected_interval_hours"] == pytest.approx(1, abs=0.01)
        assert data["anomalies_detected"] == 0
        assert not any(data["summary"].values())
        until(lambda: len(events(store)) == 1, 20)
        (event,) = events(store)
        assert (event["anomaly_type"], event["latest_metric"]) == ("missed_execution", None)
    with served(history, store, ANALYZE_MODE_SCHEDULE_ANALYSIS_ENABLED="false") as server:
        data = analyze(server).json()["data"]
        assert (data["warnings"], data["missed_executions"]) == ([], [])


def test_s66_each_anomaly_is_an_event_once_and_a_handler_that_raises_stops_no_other(
    light: Filled, store: RedisServer, tmp_path: Path
) -> None:
    usual(light, "data:process")
    run = light.run("data:process", jobs=100, seconds=150.0, ago=60)
    (tmp_path / "told.py").write_text(
        "import json, jobmon\n"
        "@jobmon.on_anomaly\n"
        "def broken(event):\n"
        "    raise RuntimeError('no pager today')\n"
        "@jobmon.on_anomaly\n"
        "async def page(event):\n"
        "    with open('told.jsonl', 'a') as file:\n"
        "        file.write(json.dumps(event.to_dict()) + '\\n')\n"
    )
    given = {"REDIS_URL": store.url, "DATABASE_URL": light.url}
    for _ in range(3):
        said = cli(tmp_path, "--import", "told", **given)
        assert said.returncode == 0, said.stderr
        assert "1 anomaly" in said.stdout
    (line,) = (tmp_path / "told.jsonl").read_text().splitlines()
    event = json.loads(line)
    assert event["state"] == "opened"
    assert event["process_id"] == run
    assert event["latest_metric"]["total_time"] == 150.0
    assert len(event["latest_metric"]) == 10
    assert event["anomaly_type"] == "performance_degradation"
    assert [one["id"] for one in events(store)] == [event["id"]]


def test_s67_of_two_analyses_at_once_one_is_refused(history: Filled, store: RedisServer) -> None:
    for n in range(300):
        usual(history, f"data:{n}", runs=2)
    answers: list[int] = []
    with served(history, store, RATE_LIMITING_ENABLED="false") as server:
        barrier = threading.Barrier(2)

        def ask() -> None:
            barrier.wait()
            answer = analyze(server)
            answers.append(answer.status_code)
            if answer.status_code == 409:
                assert answer.json()["message"] == "Analysis is already running."

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == [200, 409]


def test_s74_one_command_or_all_but_not_both(
    light: Filled, store: RedisServer, tmp_path: Path
) -> None:
    usual(light, "data:process")
    usual(light, "data:sync")
    given = {"REDIS_URL": store.url, "DATABASE_URL": light.url}
    one = cli(tmp_path, "--command=data:process", name="job-monitor:analyze", **given)
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout == "Analyzed 1 command: 0 anomalies, 0 errors.\n"
    both = cli(tmp_path, "--all", "--command=data:process", **given)
    assert both.returncode == 2
    every = cli(tmp_path, "--all", name="job-monitor:analyze", **given)
    assert every.stdout == "Analyzed 2 commands: 0 anomalies, 0 errors.\n"
    unknown = cli(tmp_path, "--command=data:nothing", **given)
    assert unknown.returncode == 1
    assert 'No runs found for command "data:nothing".' in unknown.stderr


def test_all_that_is_found_is_said_in_words_and_counted(
    light: Filled, store: RedisServer, tmp_path: Path
) -> None:
    usual(light, "data:process")
    light.run("data:process", jobs=100, seconds=150.0, ago=60)
    for n in range(20, 0, -1):
        light.run("data:big", jobs=100, seconds=50.0, peak=100_000_000, ago=n * HOUR)
    light.run("data:big", jobs=100, seconds=50.0, peak=1_000_000_000, ago=60)
    due = datetime.now(UTC) - timedelta(hours=1.5)
    usual(light, "data:sync", until_ago=1.5 * HOUR)
    for n in range(22):
        light.run(f"new:{n:02}", jobs=1, seconds=1.0)
    light.run("new:00", jobs=1, seconds=1.0, ago=30)
    given = {"REDIS_URL": store.url, "DATABASE_URL": light.url}
    said = cli(tmp_path, "--no-events", **given)
    lines = said.stdout.splitlines()
    assert lines[0].startswith("HIGH performance_degradation data:process avg_job_time 1.50 (")
    assert lines[1].startswith("    the 100 jobs of data:process ran 2.5 min in all; those of ")
    assert lines[2].startswith("CRITICAL memory_growth data:big peak_memory 1000000000.00 (")
    assert lines[3].startswith("    data:big needed 1 GB of memory at its peak; runs with about ")
    assert lines[4].startswith(f"MEDIUM missed_execution data:sync due {due:%Y-%m-%d %H:}")
    assert lines[5].startswith(f"    data:sync was due 1.5 h ago, at {due:%Y-%m-%d %H:}")
    assert lines[6:8] == [
        "new:00: not enough history, 1 of 5 earlier runs",
        "new:01: not enough history, 0 of 5 earlier runs",
    ]
    assert lines[25:] == [
        "new:19: not enough history, 0 of 5 earlier runs",
        "and 2 more",
        "Analyzed 25 commands: 2 anomalies, 1 missed run, 22 with not enough history, 0 errors.",
    ]


def test_s75_it_fails_from_a_severity_on(light: Filled, store: RedisServer, tmp_path: Path) -> None:
    usual(light, "data:process")
    light.run("data:process", jobs=100, seconds=50 * 2.6, ago=60)
    given = {"REDIS_URL": store.url, "DATABASE_URL": light.url}
    codes = {
        least: cli(tmp_path, "--no-events", "--fail-on", least, **given).returncode
        for least in ("low", "medium", "high", "critical")
    }
    assert codes == {"low": 3, "medium": 3, "high": 0, "critical": 0}
    with sa.create_engine(light.url).connect() as connection:
        assert connection.scalar(sa.text("select count(*) from anomalies")) == 0


def test_s76_json_is_one_document_and_nothing_else(
    light: Filled, store: RedisServer, tmp_path: Path
) -> None:
    usual(light, "data:process")
    run = light.run("data:process", jobs=100, seconds=150.0, ago=60)
    given = {"REDIS_URL": store.url, "DATABASE_URL": light.url}
    said = cli(tmp_path, "--format", "json", "--fail-on", "critical", **given)
    assert said.returncode == 0, said.stderr
    data = json.loads(said.stdout)
    assert list(data)[:6] == DATA
    assert [one["process_id"] for one in data["anomalies"]] == [run]
    assert datetime.fromisoformat(data["timestamp"]).tzinfo == UTC


def cli(
    folder: Path, *options: str, name: str = "analyze", **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", name, *options],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def events(store: RedisServer) -> list[dict[str, Any]]:
    """Those of the stream."""
    with store.client() as client:
        assert isinstance(client, redis.Redis)
        found: Any = client.xrange("jobmon:anomalies:events")
    return [json.loads(fields[b"event"]) for _, fields in found]
