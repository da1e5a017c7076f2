"""Peak memory is that of one job, not of the process's whole life."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@linux
def test_a_forked_child_need_not_forget_what_its_parent_held() -> None:
    peak_while_holding(256 * MIB)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        block = bytearray(b"x") * (64 * MIB)
        del block
        os.write(writer, str(PeakMemory.since_fork().stop()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    peak = int(os.read(reader, 1000))
    os.close(reader)
    os.close(writer)
    # A child begins with all that its parent holds, which is not what the parent once held.
    assert 64 * MIB < peak < memory.resident_bytes() + 150 * MIB


@linux
def test_a_program_started_by_a_large_process_measures_itself() -> None:
    """The kernel carries the starter's peak over ``execve`` into ``getrusage``."""
    program = """
import sys
block = bytearray(b"x") * (300 << 20)
if len(sys.argv) > 1:
    import os
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
    measuring = """
from jobmon.instrument.memory import PeakMemory
for _ in range(2):
    peak = PeakMemory()
    peak.start()
    block = bytearray(b"x") * (64 << 20)
    del block
    print(peak.stop())
    peak.start()
    print(peak.stop())
"""
    said = subprocess.run(
        [sys.executable, "-c", program, measuring],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    large, small, large_again, small_again = map(int, said.split())
    assert 64 * MIB < min(large, large_again) <= max(large, large_again) < 200 * MIB
    assert max(small, small_again) < 60 * MIB


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
