"""The ``jobmon`` program: what it loads, says and returns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobmon.cli.main import COMMANDS, EXTRA_OF

ROOT = Path(__file__).parents[2]


def jobmon(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command(tmp_path: Path) -> None:
    said = jobmon("--help", cwd=tmp_path)
    assert said.returncode == 0
    assert all(f"  {name} " in said.stdout for name in COMMANDS)


def test_without_a_command_it_shows_help_and_fails(tmp_path: Path) -> None:
    assert jobmon(cwd=tmp_path).returncode == 2


def test_it_tells_its_version(tmp_path: Path) -> None:
    said = jobmon("--version", cwd=tmp_path)
    assert said.returncode == 0
    assert said.stdout.startswith("jobmon ")


def test_an_unknown_command_names_the_nearest(tmp_path: Path) -> None:
    said = jobmon("stats", cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr == "jobmon: no such command: 'stats'; did you mean status?\n"
    assert said.stdout == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(tmp_path: Path, name: str) -> None:
    said = jobmon(name, "--help", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert f"usage: jobmon {name}" in said.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_an_unknown_option_is_wrong_usage(tmp_path: Path, name: str) -> None:
    said = jobmon(name, "--nonsense", cwd=tmp_path)
    assert said.returncode == 2
    assert f"jobmon {name}: " in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("name", ["serve", "status", "doctor"])
def test_a_bad_setting_stops_with_its_name(tmp_path: Path, name: str) -> None:
    said = jobmon(name, cwd=tmp_path, JOB_MONITOR_REDIS_PORT="ninety")
    assert said.returncode == 2
    assert "redis.port: 'ninety' from JOB_MONITOR_REDIS_PORT is not allowed" in said.stderr
    assert "Traceback" not in said.stderr


def test_choosing_a_command_loads_no_other(tmp_path: Path) -> None:
    script = (
        "import sys; from jobmon.cli.main import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, sep='\\n')"
    )
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(said.stdout.splitlines())
    assert "jobmon.cli.run" in loaded
    assert not loaded & {"jobmon.cli.serve", "jobmon.server", "starlette", "uvicorn", "rich"}


@pytest.mark.parametrize("name", ["serve", "analyze", "status", "failed", "migrate"])
def test_a_missing_extra_is_named(tmp_path: Path, name: str) -> None:
    # A real interpreter that has what jobmon always needs, and nothing else.
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    bare = tmp_path / "bare"
    bare.mkdir()
    for package in ("redis", "opentelemetry", "typing_extensions"):
        spec = find_spec(package)
        assert spec is not None
        places = list(spec.submodule_search_locations or [spec.origin])
        place = Path(str(places[0]))
        (bare / place.name).symlink_to(place)
    said = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-m", "jobmon.cli.main", name],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{bare}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2, said.stderr
    assert "install jobmon with the extra 'server'" in said.stderr
    assert "Traceback" not in said.stderr


def test_every_package_of_the_server_is_known_as_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {
        re.split("[>=<~!]", one)[0].replace("-", "_")
        for one in project["optional-dependencies"]["server"]
    }
    assert needed == {module for module, extra in EXTRA_OF.items() if extra == "server"}


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "jobmon.cli.main", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    program.stdout.close()
    _, complaint = program.communicate(timeout=30)
    assert complaint == b""
    assert program.returncode == 141
