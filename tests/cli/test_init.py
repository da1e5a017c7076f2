"""``jobmon init`` writes a file that says everything and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jobmon.settings import KEYS, load
from jobmon.settings.explain import value_of

ROOT = Path(__file__).parents[2]


def init(cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "init"],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_writes_a_file_that_changes_nothing(tmp_path: Path) -> None:
    said = init(tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    text = (tmp_path / "jobmon.toml").read_text()
    assert all(key.variable in text and key.meaning[:20] in text for key in KEYS.values())
    settings = load(environ={}, cwd=tmp_path)
    assert {name: value_of(settings, name) for name in KEYS} == {
        name: key.default for name, key in KEYS.items()
    }


def test_it_leaves_an_existing_file_alone(tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text("# mine\n")
    said = init(tmp_path)
    assert said.returncode == 1
    assert said.stdout == ""
    assert "it is left as it is" in said.stderr
    assert (tmp_path / "jobmon.toml").read_text() == "# mine\n"


def test_a_folder_that_takes_no_file_is_an_error() -> None:
    said = init(Path("/dev/fd"))  # not even root creates a file here
    assert said.returncode == 1
    assert "cannot write jobmon.toml" in said.stderr
