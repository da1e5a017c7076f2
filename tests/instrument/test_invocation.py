"""Commands under ``jobmon run``: one run of what is one thing, two of what is two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobmon.instrument.invocation import marks
from tests.conftest import RedisServer
from tests.live.command_fixtures import APPS, ROOT, environment, jobs, runs

pytestmark = pytest.mark.live

MANAGE = (sys.executable, str(APPS / "shop" / "manage.py"))
CLICK = (sys.executable, str(APPS / "click_program.py"))
TYPER = (sys.executable, "-X", "utf8", "-m", "tests.live.apps.typer_program")


def under_run(
    server: RedisServer, name: str, *program: str, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "run", name, "--", *program],
        cwd=ROOT,
        env=environment(server, PYTHONPATH=str(ROOT), **env),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ((*MANAGE, "invoice", "march", "--end", "command-error-7"), 7),
        ((*CLICK, "end", "exit-4"), 4),
        ((*CLICK, "end", "terminate"), 143),
        ((*TYPER, "end", "abort"), 1),
        # What starts programs for a living, as uv run and poetry run do.
        (("sh", "-c", '"$@"; exit $?', "sh", *CLICK, "end", "exit-4"), 4),
        (("env", "A=b", *CLICK, "end", "kill"), 137),
    ],
    ids=["django", "click", "signal", "typer", "started by another", "killed"],
)
def test_the_program_of_a_run_is_that_run(
    store: RedisServer, program: tuple[str, ...], code: int
) -> None:
    assert under_run(store, "nightly-work", *program).returncode == code
    (recorded,) = runs(store)
    assert (recorded["command"], recorded["exit_code"]) == ("nightly-work", code)
    assert runs(store, "running") == []


def test_a_program_that_its_first_line_starts_is_that_run(
    store: RedisServer, tmp_path: Path
) -> None:
    program = tmp_path / "orders"
    program.write_text(f"#!{sys.executable}\nfrom tests.live.apps.click_program import cli\ncli()")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert under_run(store, "nightly-work", "orders", "end", "exit-4", PATH=path).returncode == 4
    assert [recorded["command"] for recorded in runs(store)] == ["nightly-work"]


def test_a_command_of_the_runs_own_name_is_that_run(store: RedisServer) -> None:
    line = " ".join((*CLICK, "orders", "import", "monday"))
    assert under_run(store, "orders:import", "sh", "-c", f"{line}; true").returncode == 0
    assert [recorded["command"] for recorded in runs(store)] == ["orders:import"]


def test_commands_of_a_script_are_runs_inside_of_its_run(store: RedisServer) -> None:
    lines = [" ".join((*CLICK, "orders", "import", day)) for day in ("monday", "tuesday")]
    assert under_run(store, "nightly-work", "sh", "-c", "; ".join(lines)).returncode == 0
    nightly, *inside = runs(store)
    assert nightly["command"] == "nightly-work"
    assert [recorded["arguments"]["day"] for recorded in inside] == ["monday", "tuesday"]
    for recorded in inside:
        assert recorded["command"] == "orders:import"
        assert recorded["parent_process_id"] == nightly["id"]


def test_what_the_program_of_a_run_publishes_and_calls_is_inside_of_it(
    store: RedisServer,
) -> None:
    ran = under_run(store, "nightly-work", *MANAGE, "nightly")
    assert ran.returncode == 0, ran.stderr
    nightly, invoice = runs(store)
    assert (nightly["command"], invoice["command"]) == ("nightly-work", "invoice")
    assert invoice["parent_process_id"] == nightly["id"]
    assert list(jobs(store, nightly["id"])) == ran.stdout.split()[-1:]


def test_what_names_a_program_to_its_process_shows_none_of_its_words() -> None:
    shown = marks(["/usr/bin/import", "--token", "hunter2", *("more" for _ in range(100))])
    assert len(shown) < 100
    assert "hunter2" not in shown
    assert marks([]) == ""
