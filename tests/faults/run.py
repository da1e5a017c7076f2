"""Runs the hosts with one fault after the other: each in a fork of a process that has all imported.

``python -m tests.faults.run`` reads cases, one JSON list ``[target, kind, host]`` a line, and
writes what came of each, one JSON object a line. Target ``all`` stands for every one. Without a
fault: kind ``none``, and ``bare``, without jobmon.
"""

from __future__ import annotations

import argparse
import atexit
import json
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import redis

import jobmon
from tests.faults.hosts import HOSTS, outcome
from tests.faults.targets import Injector, targets

DEADLINE_SECONDS = 90.0
_SHUTDOWN_SECONDS = "1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cases = [json.loads(line) for line in sys.stdin]
    results = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a worker greets
    _import_engines()
    free = list(range(options.processes))
    running: dict[int, tuple[Any, ...]] = {}
    while cases or running:
        while cases and free:
            target, kind, host = cases.pop(0)
            slot = free.pop()
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _child(writing, options.port, slot, target, kind, host)
            os.close(writing)
            deadline = time.monotonic() + DEADLINE_SECONDS
            running[reading] = (pid, slot, (target, kind, host), deadline, bytearray())
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for reading, (pid, slot, case, deadline, said) in list(running.items()):
            late = time.monotonic() > deadline
            if late:
                os.killpg(pid, signal.SIGKILL)
            elif reading not in ready:
                continue
            chunk = b"" if late else os.read(reading, 1 << 20)
            said += chunk
            if chunk:
                continue
            _, status = os.waitpid(pid, 0)
            os.close(reading)
            del running[reading]
            free.append(slot)
            code = os.waitstatus_to_exitcode(status)
            found: dict[str, Any] = {"case": case, "code": code, "late": late}
            if said:
                found |= json.loads(said)
            print(json.dumps(found), file=results, flush=True)


def _import_engines() -> None:
    """What the hosts import, so that no fork has to; celery.beat and rq.cron are left to them."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    targets()
    logging.getLogger("jobmon").addHandler(logging.NullHandler())
    for name in ("celery", "rq", "kombu"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _child(writing: int, port: int, slot: int, target: str, kind: str, host: str) -> None:
    code = 70
    try:
        os.setpgid(0, 0)
        found = _observe(port, slot, target, kind, host)
        began = time.monotonic()
        atexit._run_exitfuncs()
        found["exit_seconds"] = time.monotonic() - began
        os.write(writing, json.dumps(found).encode())
        code = 0
    except BaseException:
        os.write(writing, json.dumps({"broke": traceback.format_exc()}).encode())
    finally:
        os._exit(code)


def _observe(port: int, slot: int, target: str, kind: str, host: str) -> dict[str, Any]:
    """All that the host shows."""
    client = redis.Redis(port=port, db=2 * slot)
    store = redis.Redis(port=port, db=2 * slot + 1)
    client.flushdb()
    store.flushdb()
    os.environ["JOB_MONITOR_REDIS_URL"] = f"redis://127.0.0.1:{port}/{2 * slot + 1}"
    os.environ["JOB_MONITOR_RECORDER_SHUTDOWN_TIMEOUT"] = _SHUTDOWN_SECONDS
    os.environ["JOB_MONITOR_BEATS_INTERVAL_SECONDS"] = "1"
    sys.excepthook = sys.__excepthook__
    seen: dict[str, Any] = {}
    took: dict[str, float] = {}
    met: dict[str, list[str]] = {}
    every = targets()
    injector = Injector(list(every), kind)
    if kind not in ("none", "bare"):
        for name in every if target == "all" else [target]:
            injector.inject(name, every[name])

    def observe(name: str, what: Callable[[], Any]) -> None:
        began = time.monotonic()
        seen[name] = what()
        took[name] = round(time.monotonic() - began, 3)
        met[name] = injector.met()

    if kind != "bare":
        observe("instrument", lambda: outcome(jobmon.instrument))
    observe("host", lambda: HOSTS[host](client))
    if kind != "bare":
        observe("uninstrument", lambda: outcome(jobmon.uninstrument))
    waiting = injector.in_users_threads()
    return {"seen": seen, "took": took, "met": met, "in_users_threads": waiting}


if __name__ == "__main__":
    main()
