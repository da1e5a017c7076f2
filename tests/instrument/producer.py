"""What a test starts in a process of ``multiprocessing``."""

from __future__ import annotations

from jobmon.instrument import recorder
from jobmon.settings import load
from tests.instrument.samples import transition


def publish(number: int) -> None:
    """Record one transition and return."""
    recorder.configure(load())
    recorder.record(transition(number))
