"""Imports point downward, and the worker path stays apart from what only the server needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lint_imports(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, ''); from importlinter.cli import "
            "lint_imports_command; lint_imports_command()",
            "--no-cache",
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_keep_to_the_layers() -> None:
    said = lint_imports(ROOT)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "0 broken" in said.stdout


def test_an_import_that_points_upward_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    shutil.copytree(ROOT / "jobmon", tmp_path / "jobmon")
    opening = tmp_path / "jobmon" / "store" / "__init__.py"
    opening.write_text("import jobmon.server\nimport starlette\n")
    said = lint_imports(tmp_path)
    assert said.returncode == 1
    assert "jobmon.store -> jobmon.server" in said.stdout
    assert "jobmon.store -> starlette" in said.stdout
