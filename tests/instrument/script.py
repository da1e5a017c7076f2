"""Python programs that a test starts, talks with over their standard streams, and kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

_PREAMBLE = """
import json, os, signal, sys, threading, time
from jobmon.instrument import recorder
from jobmon.settings import load
from tests.instrument.samples import transition

def say(value):
    os.write(1, json.dumps(value).encode() + b"\\n")  # in one piece: others write there too

def wait():
    sys.stdin.readline()

def timed(items):
    seconds = []
    for item in items:
        before = time.perf_counter()
        recorder.record(item)
        seconds.append(time.perf_counter() - before)
    return sorted(seconds)

recorder.configure(load())
"""


class Script:
    """A running program; its recorder writes to the given server."""

    def __init__(self, text: str, url: str, **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + text],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "JOB_MONITOR_REDIS_URL": url,
                **variables,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self) -> Any:
        """The next value that the program said."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the program ended: {self.end()[1]}")
        return json.loads(line)

    def go(self) -> None:
        """Let it pass its next ``wait()``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, timeout_seconds: float = 30) -> tuple[int, str, float]:
        """Wait for its end: exit code, standard error, seconds waited."""
        before = time.monotonic()
        stderr = self.process.communicate(timeout=timeout_seconds)[1]
        return self.process.returncode, stderr, time.monotonic() - before

    def close(self) -> None:
        """Kill it if it still runs."""
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


def until(condition: Any, timeout_seconds: float = 15) -> Any:
    """Wait until a condition holds; gives its value."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_seconds} s"
        time.sleep(0.01)
    return value
