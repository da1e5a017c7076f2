"""``jobmon sync``: copy what Redis holds into the database, once."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobmon import settings as configuration
from jobmon.cli import Exit, say
from jobmon.cli.numbers import whole
from jobmon.cli.stopping import Stopped, stopped_by_signals
from jobmon.errors import Unavailable
from jobmon.history import database, migrate
from jobmon.history.commit import Committer
from jobmon.history.copying import Report
from jobmon.history.failures import Copied, Failures
from jobmon.history.schema import tables
from jobmon.history.sync import Sync, count
from jobmon.history.write import History
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.holding import holding, taken
from jobmon.store.identity import Identity
from jobmon.store.keys import LEADER, SYNC
from jobmon.store.lease import Lease
from jobmon.store.unsynced import Unsynced

_LARGEST_BATCH: Final = 10_000
_LONGEST_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="also when sync.enabled is false; wait up to 30 s for another sync to end",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="count what would be copied; write nothing anywhere"
    )
    parser.add_argument(
        "--batch-size",
        type=whole(_LARGEST_BATCH),
        metavar="N",
        help="runs and jobs in one transaction, 1 to 10000 (default: setting sync.batch_size)",
    )
    parser.add_argument(
        "--cleanup",
        action="store_true",
        help="then remove from Redis what ended sync.cleanup_after_hours ago and is copied, also "
        "when sync.cleanup_enabled is false",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Copy, then clean up.

    Returns:
        0, also when there was nothing to do or another sync is running; 1 when something could
        not be copied; 75 when ``--force`` waited in vain; 130 or 143 after a signal, once the
        current batch is done.
    """
    settings = configuration.load()
    if not (settings.sync.enabled or args.force):
        say("Sync is disabled (sync.enabled=false). Use --force to run it anyway.")
        return _not_begun("sync.enabled is false", args)
    with connection.connect(settings) as client, stopped_by_signals() as stopped:
        try:
            return _run(client, settings, args, stopped)
        except Unavailable as error:
            if not stopped.code:
                raise
            say(f"Stopped early: {error}. The next sync goes on from there.")
            return stopped.code


def _run(
    client: redis.Redis, settings: Settings, args: argparse.Namespace, stopped: Stopped
) -> int:
    if args.dry_run:
        report = count(client, settings)
    else:
        migrate.prepare(settings)
        lease = Lease(client, settings, SYNC)
        token = _acquire(lease, _LONGEST_WAIT_SECONDS if args.force else 0.0, stopped.event)
        if token is None:
            if stopped.code:
                return stopped.code
            say("Another sync is running.")
            _not_begun("another sync is running", args)
            return Exit.TRY_AGAIN if args.force else Exit.DONE
        with holding(lease, token):
            report = _copy(client, settings, args, token, stopped.event)
    _print(report, settings, args)
    if report.stopped:
        say(f"Stopped early: {report.stopped}. The next sync goes on from there.")
    for error in report.errors:
        say(f"Not copied: {error}")
    if stopped.code:
        return stopped.code
    return Exit.FAILED if report.skipped or report.errors else Exit.DONE


def _copy(
    client: redis.Redis,
    settings: Settings,
    args: argparse.Namespace,
    token: int,
    stop: threading.Event,
) -> Report:
    engine = database.connect(settings)
    own = tables(settings.database.table_prefix)
    store = Identity(client, settings)
    try:
        # First: cleanup keeps what a failure has still to be copied from.
        committer = Committer(History(engine, own, LEADER, store), settings, stop)
        failures = _copy_failures(client, settings, committer)
        committer = Committer(History(engine, own, SYNC, store), settings, stop)
        with _progress(Unsynced(client, settings).size(), args) as progress:
            sync = Sync(client, committer, settings, stop, progress)
            report = sync.run(
                token, batch_size=args.batch_size, cleanup=True if args.cleanup else None
            )
        report.failed_jobs = failures.failed
        report.skipped += failures.set_aside
        return report
    finally:
        engine.dispose()


def _copy_failures(client: redis.Redis, settings: Settings, committer: Committer) -> Copied:
    """Only where no server runs, which copies them all the time."""
    with taken(Lease(client, settings, LEADER)) as token:
        if token is None:
            return Copied()
        return Failures(client, committer, settings).copy(token)


def _acquire(lease: Lease, seconds: float, stop: threading.Event) -> int | None:
    deadline = time.monotonic() + seconds
    while (token := lease.acquire()) is None:
        if time.monotonic() >= deadline or stop.wait(_POLL_SECONDS):
            return None
    return token


@contextmanager
def _progress(total: int, args: argparse.Namespace) -> Generator[Callable[[Report], None] | None]:
    """A bar on a terminal: runs, and jobs without one, of those that were marked at its start."""
    console = Console(stderr=True)
    # The file itself is asked: FORCE_COLOR has rich take a log for a terminal.
    if not sys.stderr.isatty() or args.format == "json":
        yield None
        return
    with Progress(
        TextColumn("Syncing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[jobs]}"),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("sync", total=total, jobs="")

        def show(report: Report) -> None:
            bar.update(task, completed=report.marks, jobs=f"{report.jobs} jobs")

        yield show


def _not_begun(why: str, args: argparse.Namespace) -> int:
    if args.format == "json":  # one document, whatever happens
        print(_json(Report(dry_run=args.dry_run, stopped=why)))
    return Exit.DONE


def _json(report: Report) -> str:
    shown = asdict(report)
    del shown["marks"]
    return json.dumps(shown | {"seconds": round(report.seconds, 3)})


def _print(report: Report, settings: Settings, args: argparse.Namespace) -> None:
    if args.format == "json":
        print(_json(report))
    elif report.dry_run:
        print(f"Would sync {_amounts(report)}.")
    else:
        batch = args.batch_size or settings.sync.batch_size
        print(f"Synced {_amounts(report)} in {report.seconds:.2f} s (batch {batch}).")
        print(
            f"Skipped {report.skipped}, errors {len(report.errors)}. "
            f"Cleanup: {report.cleaned} records removed."
        )


def _amounts(report: Report) -> str:
    parts = ((report.runs, "run"), (report.jobs, "job"), (report.failed_jobs, "failed job"))
    return ", ".join(f"{many} {what}{'' if many == 1 else 's'}" for many, what in parts)
