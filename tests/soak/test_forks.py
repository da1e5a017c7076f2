"""50,000 forks beside a flusher thread: none of the children may hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.instrument.samples import transition
from tests.soak.conftest import Told
from tests.soak.page import FULL

FORKS = 50_000 if FULL else 2_500
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.soak, pytest.mark.live]


@contextmanager
def stuttering(server: RedisServer) -> Iterator[None]:
    """A server that stands still for 0.7 s of every second: longer than a call may take."""
    assert server.process is not None
    process, over = server.process, threading.Event()

    def stutter() -> None:
        while not over.wait(0.3):
            process.send_signal(signal.SIGSTOP)
            over.wait(0.7)
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def load(url: str, forks: int, *options: str) -> dict[str, object]:
    command = [sys.executable, "tests/soak/fork_load.py", "--url", url, "--forks", str(forks)]
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=7000,
        check=True,
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_children_that_hand_over_never_hang_and_lose_nothing(
    store: RedisServer, told: Told
) -> None:
    result = load(store.url, FORKS, "--handover")
    told(**result)
    assert result["hung"] == 0
    assert result["flushed"] is True
    assert result["dropped"] == {}
    assert result["received"] == 2 * FORKS
    assert result["written"] == 3 * FORKS + int(str(result["background"]))


def test_children_that_write_themselves_never_hang(store: RedisServer, told: Told) -> None:
    forks = FORKS // 10
    result = load(store.url, forks)
    told(**result)
    assert result["hung"] == 0
    assert result["flushed"] is True
    assert result["dropped"] == {}
    with store.client() as client:
        records = client.hvals(f"jobmon:command:{transition().process_id}:jobs")
    assert isinstance(records, list)
    assert sum(record.startswith(b'{"status":"completed"') for record in records) == forks


def test_forks_beside_a_flusher_that_waits_for_a_stopped_store_never_hang(
    own_redis_server: RedisServer, told: Told
) -> None:
    with stuttering(own_redis_server):
        result = load(own_redis_server.url, FORKS // 5, "--handover")
    told(**result)
    assert result["hung"] == 0
    assert result["received"] == 2 * (FORKS // 5)
    assert set(result["dropped"]) <= {"overflow"}  # type: ignore[call-overload]
