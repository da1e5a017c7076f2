"""The benchmark of sync measures what it says; its numbers are the benchmark's."""

from __future__ import annotations

from benchmarks.sync import __main__ as benchmark
from benchmarks.sync import passing
from benchmarks.sync.filled import Filled
from tests.conftest import RedisServer
from tests.databases import KINDS


def test_a_pass_and_the_limit_write_the_same_rows(store: RedisServer) -> None:
    with store.client() as client:
        settings = passing.settings_for(store.url, "sqlite:///unused.db")
        filled = Filled(client, settings, 300, 3)
    for kind in set(KINDS) & benchmark.TARGETS.keys():
        ours, best, version = benchmark.rates(kind, store, filled, 1)
        assert ours > 0
        assert best > 0
        assert version[0].isdigit()


def test_memory_is_that_of_a_process_of_its_own(store: RedisServer) -> None:
    found = benchmark.memory("sqlite", store, 300)
    assert 0 < found["before"] <= found["peak"]
