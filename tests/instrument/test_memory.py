"""Peak memory is that of one job, not of the process's whole life."""

from __future__ import annotations

import os
import sys

import pytest

from jobmon.instrument import memory
from jobmon.instrument.memory import PeakMemory

MIB = 1024 * 1024
linux = pytest.mark.skipif(sys.platform != "linux", reason="clear_refs is Linux's")


def peak_while_holding(size_bytes: int) -> PeakMemory:
    peak = PeakMemory()
    peak.start()
    block = bytearray(size_bytes)
    block[::4096] = b"x" * len(block[::4096])
    del block
    return peak


@linux
def test_each_job_has_its_own_peak() -> None:
    large = peak_while_holding(128 * MIB).stop()
    small = peak_while_holding(MIB).stop()
    assert large - small > 100 * MIB


@linux
def test_a_forked_child_measures_itself() -> None:
    ours = PeakMemory()
    ours.start()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        found = (ours.stop(), peak_while_holding(64 * MIB).stop(), peak_while_holding(MIB).stop())
        os.write(writer, repr(found).encode())
        os._exit(0)
    os.waitpid(child, 0)
    inherited, large, small = map(int, os.read(reader, 1000).decode().strip("()").split(","))
    os.close(reader)
    os.close(writer)
    assert inherited == 0
    assert large - small > 50 * MIB
    assert ours.stop() > 0


def test_without_clear_refs_the_lifetime_peak_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", "/proc/self/no_such_file")
    peak = peak_while_holding(MIB)
    assert peak.lifetime
    assert peak.stop() > 0


def test_no_descriptor_stays_open() -> None:
    before = os.dup(0)
    os.close(before)
    peak_while_holding(1).stop()
    after = os.dup(0)
    os.close(after)
    assert after == before
