"""Django's management commands: which are runs, and how those end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.command_fixtures import jobs, run, runs

pytestmark = pytest.mark.live

MANAGE = "shop/manage.py"
SETUP = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.live.apps.shop.settings"
import django
django.setup()
from django.core.management import CommandError, call_command
"""


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = found
    return only


def test_a_management_command_is_a_run(store: RedisServer) -> None:
    ran = run(store, MANAGE, "invoice", "march", "--api-token", "hunter2", "--verbosity", "2")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "invoices of march\n", "")
    recorded = one(runs(store))
    assert (recorded["command"], recorded["source"]) == ("invoice", "console")
    assert (recorded["exit_code"], recorded["outcome"]) == (0, "completed")
    assert recorded["arguments"] == {"month": "march"}
    assert recorded["options"] == {"currency": "EUR", "api_token": "[redacted]", "end": "return"}
    assert "parent_process_id" not in recorded
    assert runs(store, "running") == []


@pytest.mark.parametrize(
    ("how", "code"),
    [("return", 0), ("exit-4", 4), ("command-error", 1), ("command-error-7", 7), ("error", 1)],
)
def test_the_exit_code_recorded_is_the_programs(store: RedisServer, how: str, code: int) -> None:
    ran = run(store, MANAGE, "invoice", "march", "--end", how)
    assert ran.returncode == code
    recorded = one(runs(store))
    assert (recorded["command"], recorded["exit_code"]) == ("invoice", code)
    assert recorded["outcome"] == ("failed" if code else "completed")


@pytest.mark.parametrize(
    "words",
    [
        ("invoice", "--help"),
        ("invoice",),
        ("invoice", "march", "--no-such-option"),
        ("no-such-command",),
        ("help",),
        ("check",),
        ("diffsettings",),
        ("shell", "-c", "print(1)"),
    ],
    ids=str,
)
def test_help_wrong_usage_and_tools_are_no_runs(store: RedisServer, words: tuple[str, ...]) -> None:
    ran = run(store, MANAGE, *words)
    assert ran.stdout + ran.stderr
    assert runs(store) == runs(store, "running") == []


def test_djangos_own_units_of_work_are_runs(store: RedisServer) -> None:
    assert run(store, MANAGE, "migrate").returncode == 0
    assert one(runs(store))["command"] == "migrate"


def test_the_tests_of_a_project_are_no_runs_and_nothing_inside_of_them_is(
    store: RedisServer,
) -> None:
    ran = run(store, MANAGE, "test", "tests.live.apps.shop.billing.tests")
    assert ran.returncode == 0, ran.stderr
    assert "Ran 1 test" in ran.stderr
    assert runs(store) == runs(store, "running") == []


def test_a_command_called_by_another_is_a_run_inside_of_its_run(store: RedisServer) -> None:
    ran = run(store, MANAGE, "nightly")
    assert ran.returncode == 0, ran.stderr
    nightly, invoice = runs(store)
    assert (nightly["command"], invoice["command"]) == ("nightly", "invoice")
    assert invoice["parent_process_id"] == nightly["id"]
    assert invoice["finished_at"] <= nightly["finished_at"]
    assert invoice["arguments"] == {"month": "march"}
    assert invoice["options"]["currency"] == "USD"
    assert jobs(store, invoice["id"]) == {}
    assert list(jobs(store, nightly["id"])) == ran.stdout.split()[-1:]


def test_a_command_called_by_code_is_a_run_with_the_exit_code_of_its_error(
    store: RedisServer,
) -> None:
    program = """
call_command("nightly")
try:
    call_command("invoice", "march", end="command-error-7")
except CommandError as error:
    print(error)
try:
    call_command("invoice", "march", end="exit-4")
except SystemExit as error:
    print(error.code)
try:
    call_command("invoice")
except CommandError as error:
    print(error)
"""
    ran = run(store, "-c", SETUP + program)
    assert ran.stdout.splitlines()[2:-1] == ["no invoices", "4"]
    found = [(recorded["command"], recorded["exit_code"]) for recorded in runs(store)]
    assert found == [("nightly", 0), ("invoice", 0), ("invoice", 7), ("invoice", 4)]


@pytest.mark.parametrize(
    ("variable", "patterns", "recorded"),
    [
        ("INCLUDE", "nightly", False),
        ("INCLUDE", "inv*", True),
        ("EXCLUDE", "inv*", False),
        ("EXCLUDE", "nightly", True),
    ],
)
def test_patterns_choose_what_is_recorded(
    store: RedisServer, variable: str, patterns: str, recorded: bool
) -> None:
    env = {f"JOB_MONITOR_COMMANDS_{variable}": patterns}
    assert run(store, MANAGE, "invoice", "march", **env).returncode == 0
    assert bool(runs(store)) is recorded


def test_a_pattern_takes_in_what_is_left_out_by_default(store: RedisServer) -> None:
    assert run(store, MANAGE, "check", JOB_MONITOR_COMMANDS_INCLUDE="*, check").returncode == 0
    assert one(runs(store))["command"] == "check"


def test_a_store_that_is_away_changes_nothing(store: RedisServer) -> None:
    ran = run(
        store,
        MANAGE,
        "invoice",
        "march",
        "--end",
        "command-error-7",
        JOB_MONITOR_REDIS_URL="redis://127.0.0.1:1/0",
        JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT="0.1",
    )
    assert (ran.returncode, ran.stdout) == (7, "")
    assert ran.stderr.splitlines()[0] == "CommandError: no invoices"


def test_uninstrumenting_restores_django() -> None:
    program = """
        from django.core import management
        owned, loader = dict(vars(management.BaseCommand)), management.load_command_class
        import jobmon
        jobmon.instrument()
        assert dict(vars(management.BaseCommand)) != owned
        assert management.load_command_class is not loader
        jobmon.uninstrument()
        assert dict(vars(management.BaseCommand)) == owned
        assert management.load_command_class is loader
        jobmon.instrument()
        assert management.load_command_class is not loader
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
