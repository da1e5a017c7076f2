"""``jobmon status``: what runs, what ended lately, and the queues, straight from the store."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Final

import redis
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from jobmon import settings as configuration
from jobmon.cli import Exit, tables
from jobmon.inert import inert
from jobmon.settings import SettingsError
from jobmon.store import connection
from jobmon.store.late import LateJobs
from jobmon.store.reader import Reader
from jobmon.store.state import CommandRun, QueueCounts, RunCounters

REFRESH_SECONDS: Final = 1.0

_MOST_RUNNING: Final = 20
_MOST_FINISHED: Final = 10
_MOST_LATE: Final = 10


@dataclass(frozen=True, slots=True)
class _Row:
    """One run and what became of its jobs."""

    process_id: str
    command: str
    status: str
    source: str
    started_at: float | None
    finished_at: float | None
    duration: float | None
    exit_code: int | None
    jobs: int
    pending: int
    processing: int
    completed: int
    failed: int
    retried: int


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What is shown at one moment."""

    at: float
    running: list[_Row]
    running_total: int
    finished: list[_Row]
    finished_total: int
    queues: dict[str, QueueCounts]
    late: LateJobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--watch", action="store_true", help="show again each second")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the state of affairs once, or until Ctrl-C."""
    if args.watch and args.format == "json":
        raise SettingsError(["--watch: expected --format text"])
    settings = configuration.load()
    with connection.connect(settings) as client:
        reader = Reader(client, settings)
        if args.watch:
            with live(reader, "") as refresh:
                while True:
                    refresh()
                    time.sleep(REFRESH_SECONDS)
        snapshot = _read(reader)
    if args.format == "json":
        print(json.dumps(_document(snapshot), indent=2))
    else:
        tables.console().print(_shown(snapshot))
    return Exit.DONE


@contextlib.contextmanager
def live(reader: Reader, headline: str) -> Generator[Callable[[], None]]:
    """A table that is drawn anew at each call of the function it yields.

    Args:
        reader: Of the store to show. What it raises at the first call is not caught; later the
            table says that the store does not answer.
        headline: Text above the table, empty for none.
    """
    console = tables.console()
    last: _Snapshot | None = None
    printed = ""

    def draw() -> RenderableType:
        nonlocal last
        trouble = Text()
        try:
            last = _read(reader)
        except redis.RedisError as error:
            if last is None:
                raise
            seen = time.strftime("%H:%M:%S", time.localtime(last.at))
            trouble = Text(f"Redis does not answer ({type(error).__name__}); as of {seen}:", "red")
        above = [Text(inert(line)) for line in headline.splitlines()]
        return Group(*above, *([trouble] if trouble else []), _shown(last))

    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as screen:
            yield lambda: screen.update(draw(), refresh=True)
        return

    def print_changed() -> None:
        nonlocal printed
        with console.capture() as capture:
            console.print(draw())
        if capture.get() != printed:
            printed = capture.get()
            print(printed, flush=True)

    yield print_changed


def _read(reader: Reader) -> _Snapshot:
    running, running_total = reader.running_commands(_MOST_RUNNING)
    finished, finished_total = reader.finished_commands(_MOST_FINISHED)
    processing = reader.processing_by_run()
    return _Snapshot(
        at=time.time(),
        running=[_row(one, reader, processing) for one in running],
        running_total=running_total,
        finished=[_row(one, reader, processing) for one in finished],
        finished_total=finished_total,
        queues=dict(sorted(reader.queue_counts().items())),
        late=reader.late_jobs(_MOST_LATE),
    )


def _row(run: CommandRun, reader: Reader, processing_by_run: dict[str, int]) -> _Row:
    counters = reader.run_counters(run.process_id, run.command)
    processing = processing_by_run.get(run.process_id, 0)
    return _Row(
        process_id=run.process_id,
        command=run.command,
        status="sent" if run.status == "running" and run.started_at is None else run.status,
        source=run.source,
        started_at=run.started_at,
        finished_at=run.finished_at,
        duration=run.duration,
        exit_code=run.exit_code,
        **_jobs(counters, processing),
    )


def _jobs(counters: RunCounters | None, processing: int) -> dict[str, int]:
    if counters is None:
        names = ("jobs", "pending", "processing", "completed", "failed", "retried")
        return dict.fromkeys(names, 0)
    return {
        "jobs": counters.job_count,
        # The two are read one after the other: a job may have ended in between.
        "pending": max(0, counters.open_jobs - processing),
        "processing": min(processing, counters.open_jobs),
        "completed": counters.success_jobs,
        "failed": counters.failed_jobs,
        "retried": counters.retried_jobs,
    }


def _document(snapshot: _Snapshot) -> dict[str, object]:
    return {
        "at": snapshot.at,
        "running": [asdict(row) for row in snapshot.running],
        "running_total": snapshot.running_total,
        "finished": [asdict(row) for row in snapshot.finished],
        "finished_total": snapshot.finished_total,
        "queues": {name: asdict(counts) for name, counts in snapshot.queues.items()},
        "late": asdict(snapshot.late),
    }


def _shown(snapshot: _Snapshot) -> RenderableType:
    return Group(
        _runs("Running", snapshot.running, snapshot.running_total, snapshot.at),
        Text(),
        _runs("Finished lately", snapshot.finished, snapshot.finished_total, snapshot.at),
        Text(),
        _queues(snapshot.queues),
        *_late(snapshot.late),
    )


def _runs(title: str, rows: list[_Row], total: int, now: float) -> RenderableType:
    more = f", newest {len(rows)} of {total}" if total > len(rows) else ""
    if not rows:
        return Text(f"{title}: no command")
    table = tables.table(f"{title}{more}", "command", "run", "state")
    for name in ("jobs", "pending", "running", "done", "failed", "retried", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        seconds = row.duration
        if seconds is None and row.started_at is not None:
            seconds = max(0.0, now - row.started_at)
        table.add_row(
            tables.cell(row.command),
            Text(inert(row.process_id[:8])),
            _state(row),
            str(row.jobs),
            str(row.pending),
            str(row.processing),
            str(row.completed),
            Text(str(row.failed), "red" if row.failed else ""),
            str(row.retried),
            "?" if seconds is None else tables.duration(seconds),
        )
    return table


def _state(row: _Row) -> Text:
    if row.status == "failed":
        return Text(f"failed ({row.exit_code})", "red")
    return Text(inert(row.status), {"completed": "green", "lost": "red"}.get(row.status, ""))


def _queues(queues: dict[str, QueueCounts]) -> RenderableType:
    if not queues:
        return Text("Queues: none seen yet")
    table = tables.table("Queues", "queue")
    for name in ("pending", "running", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, counts in queues.items():
        table.add_row(
            tables.cell(name),
            str(counts.pending),
            str(counts.processing),
            Text(str(counts.failed), "red" if counts.failed else ""),
        )
    return table


def _late(late: LateJobs) -> list[RenderableType]:
    total = late.pending + late.processing
    if not total:
        return []
    more = f", oldest {len(late.jobs)} of {total}" if total > len(late.jobs) else ""
    table = tables.table(f"Late{more}", "job", "id", "queue", "run", "state", "worker")
    table.add_column("for", justify="right", no_wrap=True)
    for one in late.jobs:
        table.add_row(
            tables.cell(one.job_name, 40),
            Text(inert(one.job_id[:8])),
            tables.cell(one.queue, 20),
            Text(inert(one.process_id[:8])),
            Text(inert(one.status), "yellow"),
            tables.cell(one.worker or "", 30),
            tables.duration(one.seconds),
        )
    return [Text(), table]
