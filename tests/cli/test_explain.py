"""``jobmon explain`` of a filled history."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.databases import made
from tests.filled import Filled, filled
from tests.serving import environment

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with made("sqlite", tmp_path_factory.mktemp("explain")) as one, filled(one) as found:
        for n in range(30, 0, -1):
            found.run("data:process", jobs=100, seconds=50.0 + n % 3, ago=n * 3600.0)
        found.run("data:process", jobs=100, seconds=150.0, ago=60)
        for n in range(10, 0, -1):
            found.run("data:late", jobs=100, seconds=50.0 + n % 3, ago=n * 3600.0)
        found.run("data:late", jobs=3, seconds=90.0, ago=120, partial=True)
        found.run("data:late", jobs=100, seconds=50.0, ago=60)
        for n in range(8, 0, -1):
            found.run("data:unseen", jobs=100, seconds=50.0 + n % 3, ago=n * 60.0, partial=True)
        found.run("data:new", jobs=1, seconds=1.0, ago=60)
        yield found


def explain(store: RedisServer, history: Filled, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "explain", *options],
        env=environment(REDIS_URL=store.url, DATABASE_URL=history.url),
        cwd=Path(history.url.removeprefix("sqlite:///")).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_run_stands_beside_what_was_usual(store: RedisServer, history: Filled) -> None:
    said = explain(store, history, "data:process", "--runs", "3")
    assert said.returncode == 0, said.stderr
    title, _, *rows = said.stdout.splitlines()
    assert title.startswith("data:process (default, production): 31 runs in the last 30 days")
    assert [("normal" in row, "performance_degradation" in row) for row in rows[:3]] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    slow = rows[2]
    assert "1.5 s" in slow
    # Right of its bounds.
    assert slow.index("]") < slow.rindex("*")
    assert "(inferred: every 1 h)" in said.stdout


@pytest.mark.parametrize("metric", ["jobs", "failures", "memory", "queue"])
def test_another_number_can_be_drawn(store: RedisServer, history: Filled, metric: str) -> None:
    said = explain(store, history, "data:process", "--metric", metric)
    assert said.returncode == 0, said.stderr
    assert metric in said.stdout.splitlines()[1]


def test_json_holds_every_check(store: RedisServer, history: Filled) -> None:
    said = explain(store, history, "data:process", "--runs", "1", "--format", "json")
    ((run,),) = ([one["runs"] for one in json.loads(said.stdout)["commands"]],)
    (only,) = run
    found = {one["kind"] for one in only["checks"] if one["is_anomaly"]}
    assert found == {"performance_degradation"}
    assert {"centre", "low", "high", "n"} <= only["checks"][0]["baseline"].keys()


def test_a_new_command_has_not_enough_history(store: RedisServer, history: Filled) -> None:
    said = explain(store, history, "data:new").stdout
    assert said.startswith("data:new (default, production): 1 run in the last 30 days")
    assert "not enough history" in said


def test_runs_seen_in_part_are_left_out_as_an_evaluation_does(
    store: RedisServer, history: Filled
) -> None:
    said = explain(store, history, "data:late", "--runs", "1", "--format", "json")
    [command] = json.loads(said.stdout)["commands"]
    [last] = command["runs"]
    assert (last["job_count"], last["checks"][0]["baseline"]["n"]) == (100, 10)

    def title(name: str) -> str:
        return " ".join(explain(store, history, name, "--runs", "1").stdout.split())

    assert "11 runs in the last 30 days, 1 more seen only in part" in title("data:late")
    assert "8 runs in the last 30 days run" in title("data:unseen")


def test_a_command_that_never_ran_is_said_to(store: RedisServer, history: Filled) -> None:
    said = explain(store, history, "data:nothing")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == 'No runs found for command "data:nothing".\n'


def test_a_number_of_runs_that_is_none_is_refused(store: RedisServer, history: Filled) -> None:
    said = explain(store, history, "data:process", "--runs", "0")
    assert said.returncode == 2
    assert "expected a whole number from 1 to 100" in said.stderr
