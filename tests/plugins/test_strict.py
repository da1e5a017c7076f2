"""In CI a skip is a failure; elsewhere it is listed with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SUITE = """
import pytest
@pytest.mark.skip(reason="no such machine")
def test_marked(): pass
def test_called(): pytest.skip("no such server")
@pytest.mark.xfail(reason="known", strict=True)
def test_expected(): raise AssertionError
def test_passes(): pass
"""
WHOLE_MODULE = 'import pytest\npytest.importorskip("no_such_module")\n'


def run(folder: Path, suite: str, **environ: str) -> str:
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.plugins.strict"]')
    (folder / "test_suite.py").write_text(suite)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rsf", "-p", "no:cacheprovider", f"--rootdir={folder}"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    ).stdout


def test_a_skip_is_listed_with_its_reason(tmp_path: Path) -> None:
    said = run(tmp_path, SUITE)
    assert "skips: allowed" in said
    assert "1 passed, 2 skipped, 1 xfailed" in said
    assert "no such machine" in said
    assert "no such server" in said


def test_a_strict_run_fails_instead(tmp_path: Path) -> None:
    said = run(tmp_path, SUITE, JOBMON_TEST_STRICT="1")
    assert "skips: fail" in said
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in said
    assert "no such server" in said


def test_a_module_that_skips_itself_is_no_exception(tmp_path: Path) -> None:
    assert "1 skipped" in run(tmp_path, WHOLE_MODULE)
    said = run(tmp_path, WHOLE_MODULE, JOBMON_TEST_STRICT="1")
    assert "1 error" in said
    assert "no_such_module" in said
