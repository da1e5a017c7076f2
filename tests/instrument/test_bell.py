"""A ring is heard once, whoever rings and whenever."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from jobmon.instrument.bell import Bell


def test_a_ring_before_the_wait_is_heard_once() -> None:
    bell = Bell()
    assert bell.wait(0) is False
    bell.ring()
    bell.ring()
    assert bell.wait() is True
    assert bell.wait(0) is False
    assert bell.wait(-1) is False


def test_a_ring_of_another_thread_ends_the_wait() -> None:
    bell = Bell()
    thread = threading.Timer(0.05, bell.ring)
    before = time.monotonic()
    thread.start()
    assert bell.wait(10) is True
    assert time.monotonic() - before < 5
    thread.join()


@pytest.mark.clock
def test_a_signal_handler_may_ring_while_ringing() -> None:
    bell = Bell()
    nested = 0

    def handler(*_: object) -> None:
        nonlocal nested
        nested += 1
        bell.ring()

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0002)
    try:
        while nested < 300:
            bell.ring()
            assert bell.wait(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
