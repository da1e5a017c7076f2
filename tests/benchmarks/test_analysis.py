"""The benchmark of the analysis evaluates a history that is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.analysis import __main__ as benchmark
from benchmarks.analysis.filled import BROKEN
from tests.conftest import RedisServer


@pytest.mark.parametrize("kind", benchmark.KINDS)
def test_all_are_evaluated_then_what_is_new(kind: str, store: RedisServer, tmp_path: Path) -> None:
    commands = BROKEN + 1
    found = dict(benchmark.measured(kind, store.url, tmp_path, commands, 12, 7))
    assert {what: one["commands"] for what, one in found.items()} == {
        "all": commands,
        "all, once more": commands,
        "what is new": 7,
        "nothing new": 0,
    }
    broken = {"app:command-0", f"app:command-{BROKEN}"}
    assert broken <= set(found["all"]["found"])
    assert found["all"]["events"] >= len(broken)
    assert found["all, once more"]["found"] == found["all"]["found"]
    assert found["all, once more"]["events"] == 0
    assert 0 < found["all"]["before_mib"] <= found["all"]["peak_mib"]
