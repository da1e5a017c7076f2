"""How fast and in how much memory all commands are evaluated, and those that are new.

``python -m benchmarks.analysis [--commands N] [--runs N] [--new N] [--only KIND] [--page]``

Ends with 1 when a target is missed. A database whose server is not there is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page
from benchmarks.analysis.evaluating import settings_for
from benchmarks.analysis.filled import BROKEN, Filled
from jobmon.history import database, migrate
from tests import databases
from tests.conftest import RedisServer, server_binary

PAGE = page.FOLDER / "analysis.md"
KINDS = ("postgresql", "sqlite")
MOST_MILLISECONDS = 6.0
"""A command: 10,000 in a minute."""
MOST_MIB = 300
HEAD = (
    "| database | evaluated | commands | s | of them busy | ms a command | MiB before "
    "| at the peak | events | |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
)


def measured(
    kind: str, redis_url: str, folder: Path, commands: int, runs: int, new: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each evaluation took: of all, of all again, and of some new runs."""
    with databases.made(kind, folder) as made:
        settings = settings_for(redis_url, made.url)
        migrate.prepare(settings)
        engine = database.connect(settings, statement_seconds=None)
        try:
            filled = Filled(engine, settings, commands)
            filled.fill(runs)
            for what in ("all", "all, once more"):
                yield what, _process(redis_url, made.url, "all")
            filled.add(new)
            yield "what is new", _process(redis_url, made.url, "new")
            yield "nothing new", _process(redis_url, made.url, "new")
        finally:
            engine.dispose()


def _process(redis_url: str, database_url: str, what: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.analysis.evaluating", redis_url, database_url, what]
    # One core: no threads of the linear algebra either.
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=alone)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis", description=__doc__)
    parser.add_argument("--commands", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=200, help="of each command")
    parser.add_argument("--new", type=int, default=100, help="runs that are new at the end")
    parser.add_argument("--only", choices=KINDS, help="one kind of database")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    new = min(options.new, options.commands)
    server = RedisServer(server_binary() or "redis-server")
    server.start()
    lines, verdicts = list(HEAD), []
    try:
        for kind in [options.only] if options.only else KINDS:
            with tempfile.TemporaryDirectory(prefix="jobmon-analysis-") as folder:
                try:
                    for what, found in measured(
                        *(kind, server.url, Path(folder)), options.commands, options.runs, new
                    ):
                        lines.append(_line(kind, what, found, verdicts))
                except pytest.skip.Exception as missing:
                    lines.append(f"| {kind} | {missing} | | | | | | | | left out |")
    finally:
        server.stop()
    head = (
        f"{page.machine()}: {options.commands:,} commands of {options.runs} runs, of which one in "
        f"{BROKEN} has just taken three times as long; then {new} new runs. Targets: "
        f"{MOST_MILLISECONDS:g} ms a command, {MOST_MIB} MiB."
    )
    said = f"{head}\n\n" + "\n".join(lines)
    print(said)
    if options.page:
        page.write(PAGE, said)
    return 0 if all(verdicts) else 1


def _line(kind: str, what: str, found: dict[str, Any], verdicts: list[bool]) -> str:
    milliseconds = 1000 * found["seconds"] / max(1, found["commands"])
    if what.startswith("all"):
        verdicts.append(milliseconds <= MOST_MILLISECONDS and found["peak_mib"] <= MOST_MIB)
        verdict = "pass" if verdicts[-1] else "**fail**"
    else:
        verdict = ""
    return (
        f"| {kind} | {what} | {found['commands']:,} | {found['seconds']:.2f} "
        f"| {found['cpu_seconds']:.2f} | {milliseconds:.1f} | {found['before_mib']:.0f} "
        f"| {found['peak_mib']:.0f} | {found['events']} | {verdict} |"
    )


if __name__ == "__main__":
    sys.exit(main())
