"""The units: what systemd says of them, and that they know how the server ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobmon.cli import Exit
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.prometheus import binary
from tests.serving import Served, environment

FOLDER = Path(__file__).parents[2] / "exporters/systemd"
SERVE = FOLDER / "jobmon-serve.service"
DROP_IN = FOLDER / "celery-worker.service.d/jobmon.conf"


def verified(folder: Path, drop_in: str, unit: str) -> str:
    """What systemd finds wrong with the units, whose programs exist here."""
    (folder / SERVE.name).write_text(unit.replace("/opt/jobmon/bin/jobmon", sys.executable))
    worker = folder / "celery-worker.service"
    worker.write_text(f"[Service]\nExecStart={sys.executable} -m celery worker\n")
    added = folder / "celery-worker.service.d/jobmon.conf"
    added.parent.mkdir()
    added.write_text(drop_in)
    checked = subprocess.run(
        [
            *(binary("systemd-analyze"), "verify", "--man=no"),
            *(str(folder / SERVE.name), str(worker)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
    )
    ours = [line for line in checked.stderr.splitlines() if str(folder) in line]
    assert checked.returncode == 0 or ours, checked.stderr
    return "\n".join(ours)


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    assert verified(tmp_path, DROP_IN.read_text(), SERVE.read_text()) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [("KillMode=mixed", "KillMode=no"), ("ProtectSystem=strict", "ProtectSytem=yes")],
)
def test_systemd_would_find_a_fault_in_either(old: str, new: str, tmp_path: Path) -> None:
    assert old in DROP_IN.read_text() + SERVE.read_text()
    drop_in, unit = DROP_IN.read_text().replace(old, new), SERVE.read_text().replace(old, new)
    assert new.split("=", maxsplit=1)[0] in verified(tmp_path, drop_in, unit).replace(
        "kill mode", "KillMode"
    )


def test_the_server_may_do_next_to_nothing() -> None:
    judged = subprocess.run(
        [
            *(binary("systemd-analyze"), "security", "--offline=true", "--no-pager"),
            *("--threshold=15", str(SERVE)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def words(name: str) -> list[str]:
    """Values of a setting of the server's unit."""
    return re.findall(rf"^{name}=(.*)$", SERVE.read_text(), re.MULTILINE)


@pytest.mark.live
def test_it_knows_the_exit_codes_of_the_server(redis_server: RedisServer, tmp_path: Path) -> None:
    with Served(redis_server.url) as server:
        assert words("SuccessExitStatus") == [str(server.stop())]
    invalid = subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "serve"],
        env=environment(LISTEN="nowhere"),
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert words("RestartPreventExitStatus") == [str(invalid.returncode)] == [str(int(Exit.USAGE))]


def test_the_variables_that_it_sets_are_known(tmp_path: Path) -> None:
    (variable,) = words("Environment")
    name, _, path = variable.partition("=")
    assert path.endswith("jobmon.toml")
    own = tmp_path / "jobmon.toml"
    own.write_text('app = "shop"\n')
    assert load(environ={name: str(own)}, cwd=Path("/nonexistent")).app == "shop"
