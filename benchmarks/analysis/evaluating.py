"""One evaluation as the server makes it, timed, on one core, in a process of its own.

``python -m benchmarks.analysis.evaluating REDIS_URL DATABASE_URL all|new`` prints JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from jobmon.analysis.analyzer import Analyzer
from jobmon.history import database
from jobmon.history.memory import resident_bytes
from jobmon.settings import Settings, load
from jobmon.store import connection
from jobmon.store.holding import holding
from jobmon.store.keys import ANALYSIS
from jobmon.store.lease import Lease

_MEBIBYTE = 1024 * 1024


def settings_for(redis_url: str, database_url: str) -> Settings:
    """The settings of a server."""
    given = {"redis.url": redis_url, "database.url": database_url}
    return load(given, environ={}, cwd=Path("/nonexistent"))


def evaluated(settings: Settings, what: str) -> dict[str, Any]:
    """What one evaluation took, and found."""
    engine, client = database.connect(settings), connection.connect(settings)
    analyzer = Analyzer(engine, client, settings)
    lease = Lease(client, settings, ANALYSIS)
    token = lease.acquire()
    assert token is not None
    before = resident_bytes()
    with holding(lease, token):
        began, busy = time.perf_counter(), time.process_time()
        evaluate = analyzer.analyze if what == "all" else analyzer.analyze_new
        report = evaluate(token)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    engine.dispose()
    client.close()
    assert not report.errors, report.errors[:3]
    return {
        "seconds": seconds,
        "cpu_seconds": busy,
        "commands": report.commands_analyzed,
        "found": sorted({one.command_name for one in (*report.anomalies, *report.further)}),
        "events": report.events,
        "before_mib": before / _MEBIBYTE,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(evaluated(settings_for(*sys.argv[1:3]), sys.argv[3])))
