"""Acting on an import without making it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from jobmon.instrument.on_import import on_import


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module nobody has imported."""
    name = f"fresh_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("import sys\nready = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_callback_runs_after_the_module_did(module: str) -> None:
    seen: list[bool] = []
    on_import(module, lambda: seen.append(sys.modules[module].ready))
    assert not seen
    imported = importlib.import_module(module)
    assert seen == [True]
    assert type(imported.__loader__).__name__ == "SourceFileLoader"
    assert imported.__spec__ is not None
    assert imported.__spec__.loader is imported.__loader__
    importlib.reload(imported)
    assert seen == [True]


def test_a_module_that_is_there_is_acted_on_at_once() -> None:
    seen: list[str] = []
    on_import("json", lambda: seen.append("json"))
    assert seen == ["json"]


def test_a_callback_that_raises_hurts_no_import(module: str) -> None:
    def broken() -> None:
        raise RuntimeError

    seen: list[int] = []
    on_import(module, broken)
    on_import(module, lambda: seen.append(1))
    assert importlib.import_module(module).ready
    assert seen == [1]


def test_a_module_that_does_not_exist_is_still_missing() -> None:
    on_import("there_is_no_such_module", lambda: None)
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        importlib.import_module("there_is_no_such_module")
