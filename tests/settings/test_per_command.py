"""``analyze_mode.commands``: what is set for single commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobmon.settings import PerCommand, Settings, SettingsError, explain, for_command, load

WHOLE: dict[str, Any] = {
    "mute": True,
    "schedule": "0 4 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "start_margin_seconds": 600.0,
    "maximum_run_time_seconds": 7200.0,
    "failures_to_open": 2,
    "successes_to_resolve": 5,
    "performance_threshold": 1.2,
    "performance_threshold_lower": 0.8,
    "failed_jobs_threshold": 3.0,
    "failed_jobs_threshold_lower": 0.1,
    "job_count_threshold": 4.0,
    "job_count_threshold_lower": 0.0,
    "memory_threshold": 1.5,
    "queue_time_threshold": 10.0,
    "owner": "finance, +49 30 1234",
}


def commands(**tables: Any) -> Settings:
    return load({"analyze_mode.commands": tables}, environ={})


def refusal(table: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load({"analyze_mode.commands": table}, environ={})
    (problem,) = caught.value.problems
    return problem


def test_a_table_in_the_file_says_all_that_can_be_said(tmp_path: Path) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in WHOLE.items()]
    text = "\n".join(['[analyze_mode.commands."data:process"]', *lines])
    (tmp_path / "jobmon.toml").write_text(text)
    settings = load(environ={}, cwd=tmp_path)
    assert set(WHOLE) == set(PerCommand._fields)
    assert for_command(settings, "data:process") == PerCommand(**WHOLE)


def test_the_variable_takes_a_json_object() -> None:
    text = json.dumps({"data:process": WHOLE})
    settings = load(environ={"JOB_MONITOR_ANALYZE_MODE_COMMANDS": text})
    assert for_command(settings, "data:process") == PerCommand(**WHOLE)
    shown = {row.key: row for row in explain(settings)}["analyze_mode.commands"]
    assert (shown.value, shown.source) == ("data:process", "JOB_MONITOR_ANALYZE_MODE_COMMANDS")


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("reports:daily", "name"),
        ("reports:weekly", "longer pattern"),
        ("reports:x", "pattern"),
        ("a[1]", "all"),
        ("other", "all"),
    ],
)
def test_the_most_exact_name_wins(name: str, owner: str) -> None:
    settings = commands(
        **{
            "*": {"owner": "all", "mute": True},
            "reports:*": {"owner": "pattern"},
            "reports:w*": {"owner": "longer pattern"},
            "reports:daily": {"owner": "name"},
        }
    )
    found = for_command(settings, name)
    assert found.owner == owner
    assert found.mute is (owner == "all"), "tables are not mixed"


def test_of_two_patterns_alike_the_one_that_says_more_wins() -> None:
    settings = commands(**{"*ab*": {"owner": "loose"}, "ab*": {"owner": "tight"}})
    assert for_command(settings, "abc").owner == "tight"
    assert for_command(settings, "xab").owner == "loose"
    assert for_command(commands(**{"[ab]c": {"mute": True}}), "bc").mute


def test_without_a_table_nothing_is_set() -> None:
    assert for_command(load(environ={}), "x") == PerCommand()
    assert for_command(commands(y={}), "x") == PerCommand()
    assert for_command(commands(y={}), "y") == PerCommand()


def test_an_unknown_member_names_the_nearest() -> None:
    assert "x: no such setting schedul; did you mean schedule?" in refusal({"x": {"schedul": 1}})


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("mute", "perhaps"),
        ("schedule", ""),
        ("schedule", "hourly"),
        ("schedule", "0 4 * *"),
        ("schedule", "0 4 * * * *"),
        ("schedule", "every other day"),
        ("schedule", "@reboot"),
        ("schedule", 5),
        ("timezone", "Europe/Atlantis"),
        ("timezone", "Europe"),
        ("timezone", "../zoneinfo/UTC"),
        ("start_margin_seconds", -1),
        ("start_margin_seconds", "10 min"),
        ("maximum_run_time_seconds", 0),
        ("maximum_run_time_seconds", float("nan")),
        ("failures_to_open", 0),
        ("failures_to_open", 101),
        ("successes_to_resolve", 1.5),
        ("performance_threshold", 1),
        ("performance_threshold", float("inf")),
        ("performance_threshold_lower", 1),
        ("performance_threshold_lower", -0.1),
        ("owner", ""),
        ("owner", "a\nb"),
    ],
)
def test_what_is_not_allowed_is_named_with_what_is(member: str, value: object) -> None:
    problem = refusal({"reports:*": {member: value}})
    assert problem.startswith("analyze_mode.commands: ")
    assert f"reports:*: {member} is not allowed" in problem
    assert "; expected " in problem


@pytest.mark.parametrize(
    "schedule", ["*/5 8-18 * * 1-5", " 0 0 L * * ", "@daily", "every 15 minutes", "Every hour"]
)
def test_schedules_are_taken_as_written(schedule: str) -> None:
    assert for_command(commands(x={"schedule": schedule}), "x").schedule == schedule


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("{", "it is not a JSON object"),
        ("[]", "it must be a table"),
        ([], "it must be a table"),
        ({"x": True}, "x must be a table"),
        ({"": {}}, "'' is not allowed as a name"),
        ({"[x": {}}, "it has a [ without its ]"),
        ({str(number): {} for number in range(1001)}, "it has 1001 commands"),
    ],
)
def test_no_table_of_tables_is_refused(table: object, words: str) -> None:
    assert words in refusal(table)


def test_a_process_that_sets_none_loads_nothing_for_it() -> None:
    code = (
        "import sys; from jobmon.settings import load, for_command; s = load(environ={});"
        "print(*{'zoneinfo', 'cronsim', 'difflib'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not ran.stdout.strip()
