"""How fast each read endpoint answers, beside Flower, rq-dashboard and a bare route.

``python -m benchmarks.api [--rows N] [--tasks N] [--seconds S] [--rounds N] [--only KIND]
[--page]``

The history holds a million jobs in SQLite and in PostgreSQL, Flower its default limit of tasks,
rq-dashboard as many jobs. Rounds are interleaved and the best of each counts, because the machine
is shared. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks import page
from benchmarks.api import peers
from benchmarks.api.load import Load, under_load
from benchmarks.pages.filled import fill
from jobmon.history import database
from jobmon.model import Outcome
from jobmon.settings import load
from tests import databases
from tests.conftest import RedisServer, server_binary
from tests.serving import PREFIX, Recorded, Served

PAGE = page.FOLDER / "api.md"
CONNECTIONS = 8
COMMAND = "data:command-1"
RUNS, JOBS_OF_A_RUN = 50, 100
"""In Redis: that are running, and that have finished."""
TIMES_FLOWER, LONGEST_P99_SECONDS, OF_THE_BARE_ROUTE = 10, 0.05, 0.15
LISTS = {
    "jobs/failed": "jobs/failed",
    "jobs/failed, last page": "jobs/failed?page={last_failed}",
    "command-metrics": f"command-metrics?command={COMMAND}",
    "job-metrics": "job-metrics",
    "job-metrics, in the middle": "job-metrics?page={middle}",
    "job-metrics of a command, failed": f"job-metrics?command={COMMAND}&status=failed",
    "commands/running": "commands/running",
    "commands/finished": "commands/finished",
    "commands/{processId}/jobs": "commands/{process_id}/jobs",
}
OTHERS = {
    "job-metrics, each connection another page": "job-metrics?page={number}",
    "dashboard": "dashboard",
    "dashboard of a command": f"dashboard?command={COMMAND}",
    "stats": "stats",
    "health": "health",
    "commands/{processId}": "commands/{process_id}",
    "jobs/{jobId}": "jobs/{job_id}",
    "jobs/late": "jobs/late",
    "anomalies": "anomalies",
    "schedules": "schedules",
    "workers": "workers",
}


class Measured(NamedTuple):
    """The best round of each."""

    name: str
    load: Load
    is_list: bool = False


def best(loads: list[Load]) -> Load:
    return max(loads, key=lambda one: one.per_second)


def recorded(server: RedisServer) -> str:
    """Runs in Redis; the id of one of them."""
    writer = Recorded(server)
    for number in range(2 * RUNS):
        run = writer.run(COMMAND)
        run.jobs(JOBS_OF_A_RUN, Outcome.COMPLETED)
        if number % 2:
            run.end()
    writer.close()
    return run.id


def jobmon(kind: str, rows: int, rounds: int, seconds: float) -> list[Measured]:
    """Every endpoint over a history of that many jobs."""
    server = RedisServer(server_binary() or "redis-server")
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="jobmon-api-") as folder:
            with databases.made(kind, Path(folder)) as made:
                process_id = recorded(server)
                settings = load({"database.url": made.url}, environ={}, cwd=Path("/nonexistent"))
                engine = database.connect(settings, statement_seconds=None)
                fill(engine, settings, rows)
                engine.dispose()
                with Served(server.url, "--no-schedule", DATABASE_URL=made.url) as served:
                    return _measured(served, process_id, rounds, seconds)
    finally:
        server.stop()


def _measured(served: Served, process_id: str, rounds: int, seconds: float) -> list[Measured]:
    base = f"{served.url}{PREFIX}/"
    pages = {
        "last_failed": served.get("jobs/failed").json()["last_page"],
        "middle": served.data("job-metrics")["metrics"]["last_page"] // 2,
        "process_id": process_id,
        "job_id": served.get(f"commands/{process_id}/jobs").json()["data"][0]["id"],
    }
    paths = {**LISTS, **OTHERS}
    loads: dict[str, list[Load]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            numbers = range(1, CONNECTIONS + 1) if "{number}" in path else (1,)
            urls = [base + path.format(**pages, number=number) for number in numbers]
            loads[name].append(under_load(*urls, connections=CONNECTIONS, seconds=seconds))
    return [Measured(name, best(each), name in LISTS) for name, each in loads.items()]


def limits(rows: int, tasks: int, rounds: int, seconds: float) -> dict[str, Load]:
    """The bare route and the peers, each alone on the machine."""
    server = RedisServer(server_binary() or "redis-server")
    server.start()
    found: dict[str, list[Load]] = {"a bare route": [], "Flower": [], "rq-dashboard": []}
    try:
        with tempfile.TemporaryDirectory(prefix="jobmon-api-") as name, ExitStack() as stack:
            folder = Path(name)
            body = folder / "body.json"
            body.write_bytes(b'{"data":[' + b"0," * 1500 + b"0]}")  # as long as a page of 15 jobs
            port = peers.free_port()
            url = f"http://127.0.0.1:{port}/"
            program = (sys.executable, "-m", "benchmarks.api.bare", str(port), str(body))
            root = str(Path(__file__).parents[2])
            stack.enter_context(peers.process(folder, "bare", url, *program, PYTHONPATH=root))
            urls = {"a bare route": url}
            urls["Flower"] = stack.enter_context(peers.flower(folder, server.url, tasks))
            urls["rq-dashboard"] = stack.enter_context(
                peers.rq_dashboard(folder, server.url, tasks)
            )
            for _ in range(rounds):
                for what, where in urls.items():
                    found[what].append(under_load(where, connections=CONNECTIONS, seconds=seconds))
    finally:
        server.stop()
    return {name: best(loads) for name, loads in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs in the history")
    parser.add_argument("--tasks", type=int, default=100_000, help="that the peers hold")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="one kind of database")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    found = limits(options.rows, options.tasks, options.rounds, options.seconds)
    bare, flower = found["a bare route"], found["Flower"]
    verdicts: list[bool] = []
    lines = [
        "| over | endpoint | requests/s | p50 ms | p99 ms | of the bare route | × Flower | |",
        "|---|---|--:|--:|--:|--:|--:|---|",
        *(_row("", name, load, bare, flower, "") for name, load in found.items()),
    ]
    for kind in [options.only] if options.only else ["sqlite", "postgresql"]:
        try:
            measured = jobmon(kind, options.rows, options.rounds, options.seconds)
        except pytest.skip.Exception as missing:
            lines.append(f"| {kind} | {missing} | | | | | | left out |")
            continue
        for one in measured:
            verdict = ""
            if one.is_list:
                verdicts.append(_holds(one.load, bare, flower))
                verdict = "pass" if verdicts[-1] else "**fail**"
            lines.append(_row(kind, one.name, one.load, bare, flower, verdict))
    said = "\n".join(lines)
    head = (
        f"{page.machine()}: "
        f"{options.rows:,} jobs in the history, {options.tasks:,} tasks in Flower and jobs in "
        f"rq-dashboard, {CONNECTIONS} connections, the best of {options.rounds} rounds of "
        f"{options.seconds:g} s."
    )
    print(f"{head}\n\n{said}")
    if options.page:
        page.write(PAGE, f"{head}\n\n{said}")
    return 0 if all(verdicts) else 1


def _holds(load: Load, bare: Load, flower: Load) -> bool:
    return (
        load.per_second >= TIMES_FLOWER * flower.per_second
        and load.per_second >= OF_THE_BARE_ROUTE * bare.per_second
        and load.p99_seconds <= LONGEST_P99_SECONDS
    )


def _row(kind: str, name: str, load: Load, bare: Load, flower: Load, verdict: str) -> str:
    cells: list[Any] = [
        kind,
        name,
        f"{load.per_second:,.0f}",
        f"{load.p50_seconds * 1000:.1f}",
        f"{load.p99_seconds * 1000:.1f}",
        f"{load.per_second / bare.per_second:.2f}",
        f"{load.per_second / flower.per_second:,.1f}",
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
