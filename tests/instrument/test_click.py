"""Click, Typer and Flask's CLI: which of their commands are runs, and how those end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.command_fixtures import environment, jobs, run, runs

pytestmark = pytest.mark.live

CLICK = "click_program.py"
TYPER = "typer_program.py"


def one(found: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = found
    return only


def test_a_command_is_a_run_named_by_its_path(store: RedisServer) -> None:
    ran = run(store, CLICK, "--region", "us", "orders", "import", "monday", "--limit", "3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "monday 3  \n", "")
    recorded = one(runs(store))
    assert (recorded["command"], recorded["source"]) == ("orders:import", "console")
    assert recorded["exit_code"] == 0
    assert recorded["outcome"] == "completed"
    assert recorded["arguments"] == {"day": "monday"}
    assert recorded["options"] | {"pin": "", "api_token": ""} == {
        "region": "us",
        "limit": 3,
        "pin": "",
        "api_token": "",
    }
    assert "parent_process_id" not in recorded
    assert runs(store, "running") == []


def test_secrets_among_the_options_are_not_recorded(store: RedisServer) -> None:
    ran = run(
        store, CLICK, "orders", "import", "monday", "--pin", "hunter2", "--api-token", "hunter2"
    )
    assert ran.stdout == "monday 10 hunter2 hunter2\n"
    recorded = one(runs(store))
    assert recorded["options"]["pin"] == recorded["options"]["api_token"] == "[redacted]"
    assert "hunter2" not in str(recorded)


def test_nothing_of_the_parameters_is_recorded_where_the_settings_say_so(
    store: RedisServer,
) -> None:
    run(store, CLICK, "orders", "import", "monday", JOB_MONITOR_ARGUMENTS_RECORD="none")
    recorded = one(runs(store))
    assert (recorded["arguments"], recorded["options"]) == ({}, {})


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("return", 0),
        ("exit-nothing", 0),
        ("exit-4", 4),
        ("exit-text", 1),
        ("context-exit-5", 5),
        ("click-exception", 1),
        ("usage-error", 2),
        ("bad-parameter", 2),
        ("abort", 1),
        ("end-of-input", 1),
        ("error", 1),
        ("broken-pipe", 1),
        ("interrupt", 1),
    ],
)
def test_the_exit_code_recorded_is_the_programs(store: RedisServer, how: str, code: int) -> None:
    ran = run(store, CLICK, "end", how)
    assert ran.returncode == code
    recorded = one(runs(store))
    assert (recorded["command"], recorded["exit_code"]) == ("end", code)
    assert recorded["outcome"] == ("failed" if code else "completed")


@pytest.mark.parametrize(
    ("how", "code"),
    [("exit-4", 4), ("context-exit-5", 5), ("usage-error", 2), ("abort", 1), ("error", 1)],
)
def test_a_program_that_does_not_let_click_end_it_has_the_same_exit_codes(
    store: RedisServer, how: str, code: int
) -> None:
    program = textwrap.dedent(
        f"""
        from tests.live.apps.click_program import cli
        try:
            print("returned", cli.main(["end", {how!r}], standalone_mode=False))
        except BaseException as error:
            print("raised", type(error).__name__)
        """
    )
    bare = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(store, PYTHONPATH="."),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run(store, "-c", program).stdout == bare.stdout
    assert one(runs(store))["exit_code"] == code


@pytest.mark.parametrize(
    ("how", "code"), [("terminate", -15), ("kill", -9), ("vanish", 3)], ids=str
)
def test_a_program_that_dies_without_a_word_is_still_running_to_the_store(
    store: RedisServer, how: str, code: int
) -> None:
    # Its start is written by another thread, which a quick death may overtake.
    program = f"""
from tests.live.apps import click_program
from jobmon.instrument import recorder
ending = click_program.ENDINGS[{how!r}]
def end():
    recorder.flush(30)
    ending()
click_program.ENDINGS[{how!r}] = end
click_program.cli(["end", {how!r}])
"""
    assert run(store, "-c", program).returncode == code
    assert runs(store) == []
    assert one(runs(store, "running"))["command"] == "end"


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("orders", "--help"),
        ("orders", "import", "--help"),
        ("orders", "import"),
        ("orders", "import", "monday", "--limit", "many"),
        ("orders", "no-such-command"),
        ("orders",),
        (),
    ],
    ids=str,
)
def test_help_and_wrong_usage_are_no_runs(store: RedisServer, words: tuple[str, ...]) -> None:
    ran = run(store, CLICK, *words)
    assert "Usage: " in ran.stdout + ran.stderr
    assert runs(store) == runs(store, "running") == []


def test_completion_in_the_shell_is_no_run(store: RedisServer) -> None:
    ran = run(
        store,
        CLICK,
        COMP_WORDS="click_program.py orders im",
        COMP_CWORD="2",
        # Click 8.1 leaves the dot in.
        **dict.fromkeys(
            ("_CLICK_PROGRAM_PY_COMPLETE", "_CLICK_PROGRAM.PY_COMPLETE"), "bash_complete"
        ),
    )
    assert "import" in ran.stdout
    assert runs(store) == []


def test_a_command_invoked_by_another_is_part_of_its_run(store: RedisServer) -> None:
    ran = run(store, CLICK, "orders", "reimport")
    assert ran.stdout.splitlines() == ["monday 10  ", "tuesday 10  "]
    assert one(runs(store))["command"] == "orders:reimport"


def test_a_program_called_by_a_command_is_a_run_inside_of_its_run(store: RedisServer) -> None:
    run(store, CLICK, "orders", "nest")
    outer, inner = runs(store)
    assert (outer["command"], inner["command"]) == ("orders:nest", "orders:import")
    assert inner["parent_process_id"] == outer["id"]


def test_jobs_belong_to_the_command_that_published_them(store: RedisServer) -> None:
    job_id = run(store, CLICK, "orders", "enqueue", store.url).stdout.strip()
    recorded = one(runs(store))
    assert jobs(store, recorded["id"])[job_id]["command_name"] == "orders:enqueue"


def test_a_program_without_groups_is_named_as_it_is_called(store: RedisServer) -> None:
    job_id = run(store, "import_orders.py", store.url).stdout.strip()
    recorded = one(runs(store))
    assert recorded["command"] == "import_orders"
    assert list(jobs(store, recorded["id"])) == [job_id]  # published in the coroutine
    run(store, "-m", "tests.live.apps.import_orders", store.url)
    assert runs(store)[1]["command"] == "tests.live.apps.import_orders"


def test_a_group_without_a_command_is_a_command(store: RedisServer) -> None:
    run(store, CLICK, "report")
    run(store, CLICK, "report", "daily")
    assert [recorded["command"] for recorded in runs(store)] == ["report", "report:daily"]


def test_commands_of_a_chain_are_runs_one_after_the_other(store: RedisServer) -> None:
    assert run(store, CLICK, "steps", "fetch", "load").returncode == 0
    first, second = runs(store)
    assert (first["command"], second["command"]) == ("steps:fetch", "steps:load")
    assert first["finished_at"] <= second["started_at"]
    assert "parent_process_id" not in second


def test_a_run_lasts_until_its_program_ends_it(store: RedisServer) -> None:
    assert run(store, CLICK, "ended-by-result", "six").returncode == 6
    assert one(runs(store))["exit_code"] == 6


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        (("orders", "import", "monday"), 0, "orders:import"),
        (("end", "exit-4"), 4, "end"),
        (("end", "sys-exit-6"), 6, "end"),
        (("end", "abort"), 1, "end"),
        (("end", "bad-parameter"), 2, "end"),
        (("end", "error"), 1, "end"),
    ],
    ids=str,
)
def test_typers_commands_are_runs_too(
    store: RedisServer, words: tuple[str, ...], code: int, name: str
) -> None:
    assert run(store, TYPER, *words).returncode == code
    recorded = one(runs(store))
    assert (recorded["command"], recorded["exit_code"]) == (name, code)
    if name == "orders:import":
        assert (recorded["arguments"], recorded["options"]) == ({"day": "monday"}, {"limit": 10})


def test_an_interrupted_command_of_typer_ends_as_its_program(store: RedisServer) -> None:
    ran = run(store, TYPER, "end", "interrupt")
    assert ran.returncode in (1, 130)  # Typer's versions differ
    assert one(runs(store))["exit_code"] == ran.returncode


@pytest.mark.parametrize("words", [("--help",), ("orders", "import")], ids=str)
def test_help_and_wrong_usage_of_typer_are_no_runs(
    store: RedisServer, words: tuple[str, ...]
) -> None:
    run(store, TYPER, *words)
    assert runs(store) == []


def test_an_applications_own_commands_of_flask_are_runs_and_flasks_are_not(
    store: RedisServer,
) -> None:
    flask = ("-m", "flask", "--app", "tests.live.apps.flask_app")
    ran = run(store, *flask, "import-orders", "monday")
    assert ran.stdout == "tests.live.apps.flask_app monday\n"
    recorded = one(runs(store))
    assert (recorded["command"], recorded["arguments"]) == ("import-orders", {"day": "monday"})


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "celery", "report"),
        ("-m", "rq.cli", "info", "--url", "{url}"),
        ("-m", "flask", "--app", "tests.live.apps.flask_app", "routes"),
    ],
    ids=str,
)
def test_tools_of_engines_and_of_python_are_no_runs(
    store: RedisServer, words: tuple[str, ...]
) -> None:
    ran = run(store, *(word.format(url=store.url) for word in words))
    assert ran.returncode == 0, ran.stderr
    assert runs(store) == []


def test_a_pattern_takes_a_tool_in(store: RedisServer) -> None:
    words = ("-m", "flask", "--app", "tests.live.apps.flask_app", "routes")
    run(store, *words, JOB_MONITOR_COMMANDS_INCLUDE="*,rou*")
    assert one(runs(store))["command"] == "routes"


@pytest.mark.parametrize(
    ("variable", "patterns", "recorded"),
    [
        ("INCLUDE", "orders:*", True),
        ("INCLUDE", "report, orders:im?ort", True),
        ("INCLUDE", "report:*", False),
        ("INCLUDE", "ORDERS:*", False),
        ("EXCLUDE", "*:import", False),
        ("EXCLUDE", "import", True),
    ],
)
def test_patterns_choose_what_is_recorded(
    store: RedisServer, variable: str, patterns: str, recorded: bool
) -> None:
    ran = run(
        store,
        CLICK,
        "orders",
        "import",
        "monday",
        **{f"JOB_MONITOR_COMMANDS_{variable}": patterns},
    )
    assert ran.returncode == 0
    assert bool(runs(store)) is recorded


def test_uninstrumenting_restores_click_and_typer() -> None:
    program = """
        import click.core, typer.core
        classes = [*click.core.Group.__mro__, *typer.core.TyperGroup.__mro__]
        classes += typer.core.TyperCommand.__mro__
        owned = [dict(vars(owner)) for owner in classes]
        import jobmon
        jobmon.instrument()
        assert [dict(vars(owner)) for owner in classes] != owned
        jobmon.uninstrument()
        assert [dict(vars(owner)) for owner in classes] == owned
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_patches_of_others_before_and_after_ours_change_nothing(store: RedisServer) -> None:
    program = """
import functools
import click.core
def around(name):
    original = getattr(click.core.Command, name)
    @functools.wraps(original)
    def wrapped(self, *args, **kwargs):
        return original(self, *args, **kwargs)
    setattr(click.core.Command, name, wrapped)
around("invoke"), around("main")
import jobmon
jobmon.uninstrument()
jobmon.instrument()
around("invoke"), around("main")
from tests.live.apps.click_program import cli
cli(["orders", "nest"])
"""
    assert run(store, "-c", program).returncode == 0
    assert [recorded["command"] for recorded in runs(store)] == ["orders:nest", "orders:import"]
