"""A worker's main process that forks without end while its threads record and write.

Run by ``test_forks.py``; prints one line of JSON. A child that does not end within its time is
asked for its stack and reported.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque

from jobmon.instrument import recorder
from jobmon.settings import load
from tests.instrument.samples import transition

CHILD_SECONDS = 20.0
_LOG = logging.getLogger("soak")


def child(number: int) -> None:
    """What a job does that would meet a lock left behind by a thread of the main process."""
    recorder.record(transition(number, job_id=f"child-{number}"))
    _LOG.warning("job %d", number)
    if number % 10 == 0:
        socket.getaddrinfo("localhost", 80)
    if number % 25 == 0:
        sys.modules.pop("colorsys", None)
        import colorsys  # noqa: F401
    if number % 50 == 0:
        if (grandchild := os.fork()) == 0:
            recorder.record(transition(number, job_id="grandchild"))
            os._exit(0)
        os.waitpid(grandchild, 0)
    recorder.record(transition(number, "completed", job_id=f"child-{number}"))
    recorder.flush(5)


def reap(children: deque[tuple[int, float]], hung: list[int]) -> None:
    """Wait for the oldest child; one that hangs is counted, shown and killed."""
    pid, started = children.popleft()
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() - started > CHILD_SECONDS:
            hung.append(pid)
            os.kill(pid, signal.SIGABRT)  # faulthandler prints where
            os.waitpid(pid, 0)
            return
        time.sleep(0.0002)


def main() -> None:
    """Fork as often as asked."""
    options = argparse.ArgumentParser()
    options.add_argument("--url", required=True)
    options.add_argument("--forks", type=int, required=True)
    options.add_argument("--handover", action="store_true")
    arguments = options.parse_args()

    faulthandler.enable()
    logging.basicConfig(stream=open(os.devnull, "w"))  # noqa: SIM115
    recorder.configure(load({"redis.url": arguments.url}))
    if arguments.handover:
        recorder.open_handover()

    ending = threading.Event()
    background = 0

    def load_flusher() -> None:
        nonlocal background
        while not ending.wait(0.002):
            for _ in range(4):
                recorder.record(transition(background, job_id=f"background-{background}"))
                background += 1

    thread = threading.Thread(target=load_flusher)
    thread.start()
    children: deque[tuple[int, float]] = deque()
    hung: list[int] = []
    slowest_fork = 0.0
    began = time.monotonic()
    for number in range(arguments.forks):
        recorder.record(transition(number, "pending", job_id=f"child-{number}"))
        before = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            try:
                child(number)
            finally:
                os._exit(0)
        slowest_fork = max(slowest_fork, time.perf_counter() - before)
        children.append((pid, time.monotonic()))
        if len(children) >= 4:
            reap(children, hung)
    while children:
        reap(children, hung)
    seconds = time.monotonic() - began
    ending.set()
    thread.join()
    flushed = recorder.flush(60)
    stats = recorder.stats()
    result = {
        "forks": arguments.forks,
        "seconds": round(seconds, 1),
        "slowest_fork_ms": round(slowest_fork * 1000, 1),
        "hung": len(hung),
        "background": background,
        "flushed": flushed,
        "received": stats.received,
        "written": stats.written,
        "failures": stats.failures,
        "dropped": dict(stats.dropped),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
