"""How fast pages, totals and statistics of a large history are, beside those of a small one.

``python -m benchmarks.pages [--rows N] [--rounds N] [--only KIND] [--page]``

The first page of a history of 10,000 jobs is the measure. Calls are interleaved and the median of
each counts. Ends with 1 when a target is missed. A database whose server is not there is left out,
and said so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks import page
from benchmarks.pages.filled import DAYS, FAILED, fill
from jobmon.history import database
from jobmon.history.read import HistoryReader
from jobmon.history.schema import tables
from tests import databases

PAGE = page.FOLDER / "pages.md"
KINDS = ("sqlite", "postgresql")
SMALL = 10_000
LIMIT = 15
TARGET = 5
"""Times the first page of the small history, for what is read of the large one."""
COMMAND = "data:command-7"
OWN = tables("")
Calls = dict[str, Callable[[], object]]


@contextmanager
def filled(kind: str, rows: int, folder: Path) -> Iterator[tuple[sa.Engine, float]]:
    """A history, and how many seconds the migration took."""
    with databases.made(kind, folder) as made:
        settings = made.settings()
        filling = database.connect(settings, statement_seconds=None)
        took = fill(filling, settings, rows)
        filling.dispose()
        engine = database.connect(settings)
        try:
            yield engine, took
        finally:
            engine.dispose()


def since() -> datetime:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=DAYS)


def judged(engine: sa.Engine) -> Calls:
    """What is to be fast however many rows there are."""
    reader = HistoryReader(engine, OWN)
    asked = {
        "all jobs": {},
        "those of one command": {"command": COMMAND},
        "its failed ones": {"command": COMMAND, "status": "failed"},
    }
    calls: Calls = {}
    for name, words in asked.items():
        total = reader.jobs(since(), 0, 1, **words).total
        for which, offset in (("first", 0), ("middle", total // 2), ("last", total - LIMIT)):
            calls[f"{name}: {which} page of {total:,}"] = partial(
                reader.jobs, since(), offset, LIMIT, **words
            )
    runs = reader.runs(None, since(), 0, 1).total
    calls[f"runs: last page of {runs:,}"] = partial(reader.runs, None, since(), runs - 1, LIMIT)
    failed = reader.failed_jobs(0, 1).total
    for which, offset in (("first", 0), ("middle", failed // 2), ("last", failed - LIMIT)):
        name = f"failed jobs: {which} page of {failed:,}"
        calls[name] = partial(reader.failed_jobs, offset, LIMIT)
    calls["statistics of all jobs"] = partial(reader.job_statistics, since())
    return calls


def counted(engine: sa.Engine) -> Calls:
    """What a query does that knows of no sums."""
    own = OWN.job_metrics.c
    window = own.finished_at >= since()
    count = sa.select(sa.func.count()).select_from(OWN.job_metrics).where(window)
    newest = sa.select(own.id).where(window).order_by(own.finished_at.desc(), own.id.desc())

    def ask(statement: Any) -> object:
        with engine.connect() as connection:
            return connection.execute(statement).all()

    with engine.connect() as connection:
        jobs = connection.scalar(count) or 0
    return {
        "`SELECT count(*)` of all jobs": partial(ask, count),
        "`OFFSET` to their last page": partial(ask, newest.limit(LIMIT).offset(jobs - LIMIT)),
    }


def milliseconds(calls: Calls, rounds: int) -> dict[str, float]:
    """The median of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) * 1000 for name, some in taken.items()}


def rows_of(kind: str, count: int, rounds: int) -> tuple[list[str], bool]:
    """Lines of the table, and whether the target was met."""
    with tempfile.TemporaryDirectory(prefix="jobmon-pages-") as folder:
        small_folder, large_folder = Path(folder, "small"), Path(folder, "large")
        small_folder.mkdir(), large_folder.mkdir()
        with filled(kind, SMALL, small_folder) as (small, _):
            with filled(kind, count, large_folder) as (large, migration_seconds):
                measure = "first page of 10,000 jobs"
                first = partial(HistoryReader(small, OWN).jobs, since(), 0, LIMIT)
                found = milliseconds({measure: first, **judged(large)}, rounds)
                slow = milliseconds(counted(large), max(3, rounds // 10))
                version = ".".join(map(str, large.dialect.server_version_info or ()))
    one = found.pop(measure)
    lines = [f"| {kind} {version} | {measure} | {one:.2f} | 1 | | |"]
    for name, took in found.items():
        verdict = "pass" if took <= TARGET * one else "**fail**"
        lines.append(f"| | {name} | {took:.2f} | {took / one:.1f} | ≤ {TARGET} | {verdict} |")
    lines += [f"| | {name} | {took:.1f} | {took / one:.0f} | | |" for name, took in slow.items()]
    lines.append(f"| | migration of a table of {count:,} jobs | {migration_seconds:.0f} s | | | |")
    return lines, all(took <= TARGET * one for took in found.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs of the large history")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--only", choices=KINDS, help="one kind of database")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    lines = ["| database | read | ms | times the first page of 10,000 | target | |"]
    lines.append("|---|---|--:|--:|--:|---|")
    passed = True
    for kind in [options.only] if options.only else KINDS:
        try:
            some, is_fast = rows_of(kind, options.rows, options.rounds)
        except pytest.skip.Exception as missing:
            some, is_fast = [f"| {kind} | {missing} | | | | left out |"], True
        lines += some
        passed = passed and is_fast
    said = "\n".join(lines)
    head = (
        f"{page.machine()}: "
        f"{options.rows:,} jobs within {DAYS} days, one of {FAILED} failed; {LIMIT} rows on a "
        f"page, with its total; the median of {options.rounds} interleaved calls."
    )
    print(f"{head}\n\n{said}")
    if options.page:
        page.write(PAGE, f"{head}\n\n{said}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
