"""How fast the store is copied into SQLite and PostgreSQL beside what each takes at best.

``python -m benchmarks.sync [--jobs N] [--rounds N] [--memory SMALL,LARGE] [--only KIND] [--page]``

Rounds are interleaved and the fastest of each counts, because the machine is shared. Ends with 1
when a target is missed. A database whose server is not there is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page
from benchmarks.sync import limit, passing
from benchmarks.sync.filled import Filled
from jobmon.history import database, migrate
from tests import databases
from tests.conftest import RedisServer, server_binary

PAGE = page.FOLDER / "sync.md"
BATCH = 10_000
RUNS = 20
TARGETS = {"sqlite": 0.6, "postgresql": 0.5}
LIMITS = {
    "sqlite": "executemany of ready rows",
    "postgresql": "COPY of ready rows, INSERT … ON CONFLICT",
}
MEMORY_TARGET_MIB = 20


def once(kind: str, redis_url: str, work: Any) -> Any:
    """Do it with a new database's settings and engine."""
    with tempfile.TemporaryDirectory(prefix="jobmon-sync-") as folder:
        with databases.made(kind, Path(folder)) as made:
            settings = passing.settings_for(redis_url, made.url)
            migrate.prepare(settings)
            engine = database.connect(settings)
            try:
                return work(settings, engine)
            finally:
                engine.dispose()


def rates(kind: str, server: RedisServer, filled: Filled, rounds: int) -> tuple[float, float, str]:
    """Rows per second of a pass and of the limit, and the database's version."""
    url, client, jobs = server.url, server.client(), filled.jobs
    copied, limits = [], []
    with tempfile.TemporaryDirectory(prefix="jobmon-sync-") as ready:
        folder = Path(ready)
        filled.again()
        count = once(
            *(kind, url),
            lambda settings, engine: limit.make_ready(client, settings, engine, BATCH, folder),
        )
        for _ in range(rounds):
            limits.append(once(kind, url, lambda _, engine: limit.seconds(engine, folder)))
            filled.again()
            copied.append(
                once(
                    *(kind, url),
                    lambda settings, engine: passing.seconds(client, settings, engine, BATCH, jobs),
                )
            )
    return count / min(copied), count / min(limits), once(kind, url, _version)


def _version(_settings: Any, engine: Any) -> str:
    with engine.connect() as connection:
        return ".".join(map(str, connection.dialect.server_version_info))


def memory(kind: str, server: RedisServer, jobs: int) -> dict[str, float]:
    """MiB before and at the peak of a pass over one run, in a process of its own."""
    with server.client() as client:
        Filled(client, passing.settings_for(server.url, "sqlite:///unused.db"), jobs)

    def work(settings: Any, _engine: Any) -> dict[str, float]:
        words = (server.url, settings.database.url, str(BATCH), str(jobs))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sync.passing", *words],
            check=True,
            capture_output=True,
        )
        return json.loads(done.stdout)

    return once(kind, server.url, work)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="10000,1000000", help="jobs of two passes; empty: none")
    parser.add_argument("--only", choices=tuple(TARGETS), help="one kind of database")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    server = RedisServer(server_binary() or "redis-server")
    server.start()
    verdicts, lines = [], []
    kinds = [options.only] if options.only else list(TARGETS)
    try:
        with server.client() as client:
            settings = passing.settings_for(server.url, "sqlite:///unused.db")
            filled = Filled(client, settings, options.jobs, min(RUNS, options.jobs))
            lines += [
                "| database | way | rows/s | of the limit | target | |",
                "|---|---|--:|--:|--:|---|",
            ]
            for kind in kinds:
                try:
                    ours, best, version = rates(kind, server, filled, options.rounds)
                except pytest.skip.Exception as missing:
                    lines.append(f"| {kind} | {missing} | | | | left out |")
                    continue
                verdicts.append(ours / best >= TARGETS[kind])
                lines += [
                    f"| {kind} {version} | {LIMITS[kind]} | {best:,.0f} | 1 | | |",
                    f"| | sync from Redis | {ours:,.0f} | {ours / best:.2f} | ≥ {TARGETS[kind]} "
                    f"| {_verdict(verdicts[-1])} |",
                ]
            if options.memory:
                lines += _memory_lines(server, kinds, options.memory, verdicts)
    finally:
        server.stop()
    said = "\n".join(lines)
    head = (
        f"{page.machine()}: "
        f"{options.jobs:,} jobs of {min(RUNS, options.jobs)} runs, {BATCH:,} rows in a "
        f"transaction, no pause between two; the fastest of {options.rounds} interleaved rounds."
    )
    print(f"{head}\n\n{said}")
    if options.page:
        page.write(PAGE, f"{head}\n\n{said}")
    return 0 if all(verdicts) else 1


def _memory_lines(
    server: RedisServer, kinds: list[str], counts: str, verdicts: list[bool]
) -> list[str]:
    lines = [
        "",
        "| database | jobs of one run | MiB before | MiB at the peak | |",
        "|---|--:|--:|--:|---|",
    ]
    for kind in kinds:
        try:
            found = {jobs: memory(kind, server, jobs) for jobs in map(int, counts.split(","))}
        except pytest.skip.Exception:
            continue
        for jobs, one in found.items():
            lines.append(f"| {kind} | {jobs:,} | {one['before']:.0f} | {one['peak']:.0f} | |")
        small, *_, large = (one["peak"] for one in found.values())
        verdicts.append(abs(large - small) <= MEMORY_TARGET_MIB)
        lines.append(
            f"| | difference | | {large - small:+.0f} | ± {MEMORY_TARGET_MIB}: "
            f"{_verdict(verdicts[-1])} |"
        )
    return lines


def _verdict(passed: bool) -> str:
    return "pass" if passed else "**fail**"


if __name__ == "__main__":
    sys.exit(main())
