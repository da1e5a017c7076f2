"""A pass as the server makes it, timed; run as a program, also its memory.

``python -m benchmarks.sync.passing REDIS_URL DATABASE_URL BATCH_SIZE`` prints MiB as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jobmon.history import database
from jobmon.history.commit import Committer
from jobmon.history.schema import tables
from jobmon.history.sync import Sync
from jobmon.history.write import History
from jobmon.settings import Settings, load
from jobmon.store import connection
from jobmon.store.holding import holding
from jobmon.store.identity import Identity
from jobmon.store.keys import SYNC
from jobmon.store.lease import Lease


def settings_for(redis_url: str, database_url: str) -> Settings:
    """No pause, and no end before everything is copied."""
    return load(
        {
            "redis.url": redis_url,
            "database.url": database_url,
            "sync.chunk_delay_ms": 0,
            "sync.timeout_seconds": 86_400,
            "sync.cleanup_enabled": False,
        },
        environ={},
        cwd=Path("/nonexistent"),
    )


def seconds(client: Any, settings: Settings, engine: Any, batch_size: int, jobs: int) -> float:
    """How long one pass takes for that many jobs."""
    stop = threading.Event()
    writing = History(engine, tables(""), SYNC, Identity(client, settings))
    committer = Committer(writing, settings, stop)
    sync = Sync(client, committer, settings, stop)
    lease = Lease(client, settings, SYNC)
    token = lease.acquire()
    assert token is not None
    try:
        with holding(lease, token):
            began = time.perf_counter()
            report = sync.run(token, batch_size=batch_size)
            took = time.perf_counter() - began
    finally:
        lease.release(token)
    assert (report.jobs, report.skipped, report.stopped) == (jobs, 0, ""), report
    return took


def _status_mib(name: str) -> float:
    """A number of this process's from the kernel, such as ``VmHWM``: its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {name}")


def main() -> None:
    redis_url, database_url, batch_size, jobs = sys.argv[1:]
    settings = settings_for(redis_url, database_url)
    engine = database.connect(settings)
    with connection.connect(settings) as client:
        before = _status_mib("VmRSS")
        took = seconds(client, settings, engine, int(batch_size), int(jobs))
    engine.dispose()
    print(json.dumps({"before": before, "peak": _status_mib("VmHWM"), "seconds": took}))


if __name__ == "__main__":
    main()
