"""A state store that hangs, and whether anybody feels it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from tests.conftest import RedisServer

SHUTDOWN_SECONDS = 2.0
"""``recorder.shutdown_timeout``."""
SLACK_SECONDS = 1.5
"""For the scheduler of a shared machine."""
_MOST_SECONDS = 0.005
"""By which the 99th percentile of a job's run time may grow."""
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 9


@contextmanager
def hanging(server: RedisServer) -> Iterator[None]:
    """The server is stopped without dying: connections stand, nothing answers."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def check_run_times(state: RedisServer, run: Callable[[], list[float]]) -> None:
    """Compare the p99 of run times with and without the store, as medians of paired rounds.

    Other work on the machine spoils single rounds, so that more follow while they differ.

    Args:
        state: The store.
        run: Runs some no-op jobs; returns the seconds that each took.
    """
    run()
    without: list[float] = []
    beside: list[float] = []
    while len(beside) < _MOST_ROUNDS:
        without.append(_p99(run()))
        with hanging(state):
            beside.append(_p99(run()))
        if len(beside) >= _FEWEST_ROUNDS and median(beside) <= median(without) + _MOST_SECONDS:
            return
    raise AssertionError(
        f"p99 {median(beside) * 1000:.1f} ms, {median(without) * 1000:.1f} ms without an outage"
    )


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]
