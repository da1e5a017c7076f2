"""``jobmon retry``: run failed jobs again."""

from __future__ import annotations

import argparse
import getpass
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jobmon import settings as configuration
from jobmon.cli import Exit, say
from jobmon.cli.stopping import Stopped, stopped_by_signals
from jobmon.errors import JobmonError, Unavailable
from jobmon.history import database, migrate
from jobmon.inert import inert
from jobmon.retry.errors import NoneFailedError
from jobmon.retry.retrier import BulkRetry, Retrier
from jobmon.store import connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="number of a row of `jobmon failed`, or a job's own id"
    )
    parser.add_argument("--all", action="store_true", help="every failed job")
    parser.add_argument("--run", type=process_id, metavar="UUID", help="those of one command run")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also push what may wait in its queue already, because a retry broke off",
    )


def process_id(text: str) -> str:
    """The id of a run as it is stored."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a UUID") from None


def run(args: argparse.Namespace) -> int:
    """Push them, without a server.

    Returns:
        0; 1 when one was refused; 2 when it is not said which; 69 when any queue is away; 130 or
        143 after a signal, once the current job is pushed.
    """
    if sum((bool(args.ids), args.all, args.run is not None)) != 1:
        say("jobmon retry: say which: ID…, --run UUID or --all\nSee: jobmon retry --help")
        return Exit.USAGE
    settings = configuration.load()
    migrate.prepare(settings)
    engine = database.connect(settings)
    try:
        with connection.connect(settings) as client, stopped_by_signals() as stopped:
            retrier = Retrier(client, engine, settings, stop=stopped.event)
            if args.ids:
                code = _some(retrier, args.ids, stopped, force=args.force)
            else:
                code = _many(retrier, args.run, force=args.force)
            return stopped.code or code
    finally:
        engine.dispose()


def _some(retrier: Retrier, ids: list[str], stopped: Stopped, *, force: bool) -> int:
    code = Exit.DONE
    for given in ids:
        if stopped.code:
            break
        try:
            retrier.retry(given, _who(), force=force)
        except database.DatabaseUnavailable:
            raise
        except JobmonError as error:
            say(inert(error, 1000))
            code = max(code, Exit.UNAVAILABLE if isinstance(error, Unavailable) else Exit.FAILED)
        else:
            print(f"Job [{inert(given)}] has been pushed back onto the queue.")
    return code


def _many(retrier: Retrier, of_run: str | None, *, force: bool) -> int:
    with _progress() as progress:
        try:
            found = retrier.retry_all(of_run, _who(), progress, force=force)
        except NoneFailedError as error:
            say(str(error) if of_run is not None else "There are no failed jobs.")
            return Exit.FAILED if of_run is not None else Exit.DONE
    print(f"{found.pushed} of {found.requested} failed jobs have been pushed back onto the queue.")
    if found.refused:
        say(f"{found.refused} were not. The last one: {inert(found.error, 1000)}")
    return Exit.FAILED if found.refused else Exit.DONE


@contextmanager
def _progress() -> Generator[Callable[[BulkRetry], None] | None]:
    """A bar on a terminal."""
    # The file itself is asked: FORCE_COLOR has rich take a log for a terminal.
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(
        TextColumn("Pushing"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("retry")

        def show(found: BulkRetry) -> None:
            done = found.requested - found.remaining
            bar.update(task, total=found.requested, completed=done)

        yield show


def _who() -> str:
    """Whoever is logged in here."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may know no name of its user
        return "jobmon retry"
