"""``jobmon failed``: show failed jobs, and delete some."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from jobmon import settings as configuration
from jobmon.cli import Exit, say
from jobmon.cli.numbers import whole
from jobmon.cli.retry import process_id
from jobmon.cli.tables import ago, cell, console, table
from jobmon.history import database, migrate
from jobmon.history.schema import tables
from jobmon.inert import inert
from jobmon.retry.claims import Claims, FailedJob
from jobmon.retry.errors import NotFailedError, QueueUnavailable
from jobmon.retry.retrier import Retrier
from jobmon.store import connection

_MOST: Final = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="delete ID",
        help="delete these: numbers of rows, or jobs' own ids (default: show all)",
    )
    parser.add_argument("--run", type=process_id, metavar="UUID", help="those of one command run")
    parser.add_argument("--command", metavar="NAME", help="those of one command's runs")
    parser.add_argument("--limit", type=whole(_MOST), default=50, metavar="N", help="most rows: 50")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Show them, newest first, or delete some.

    Returns:
        0; 1 when one to be deleted was not there; 2 for words that are none of ours; 69 when RQ is
        away.
    """
    verb, *ids = args.words or [""]
    if verb not in ("", "delete") or (verb and not ids):
        say("jobmon failed: expected nothing, or: delete ID…\nSee: jobmon failed --help")
        return Exit.USAGE
    settings = configuration.load()
    migrate.prepare(settings)
    engine = database.connect(settings)
    try:
        if ids:
            with connection.connect(settings) as client:
                return _delete(Retrier(client, engine, settings), ids)
        claims = Claims(engine, tables(settings.database.table_prefix))
        found = claims.newest(args.limit, process_id=args.run, command=args.command)
    finally:
        engine.dispose()
    if args.format == "json":
        print(json.dumps([_described(one) for one in found], ensure_ascii=False, indent=2))
    else:
        console().print(_shown(found, time.time()))
    return Exit.DONE


def _delete(retrier: Retrier, ids: Sequence[str]) -> int:
    code = Exit.DONE
    for given in ids:
        try:
            retrier.delete(given)
        except (NotFailedError, QueueUnavailable) as error:
            say(inert(error, 1000))
            is_away = isinstance(error, QueueUnavailable)
            code = max(code, Exit.UNAVAILABLE if is_away else Exit.FAILED)
        else:
            print(f"Job [{inert(given)}] has been deleted.")
    return code


def _described(one: FailedJob) -> dict[str, object]:
    members: dict[str, object] = one._asdict()
    members["failed_at"] = one.failed_at.strftime("%Y-%m-%d %H:%M:%S")
    return members


def _shown(found: Sequence[FailedJob], now: float) -> RenderableType:
    if not found:
        return Text("There are no failed jobs.")
    made = table("Failed jobs", "id", "job", "name", "queue", "command", "failed", "exception")
    for one in found:
        made.add_row(
            str(one.id),
            cell(one.uuid),
            cell(one.job_class or "-"),
            cell(one.queue),
            cell(one.command_name),
            ago(one.failed_at.timestamp(), now),
            cell(one.exception.partition("\n")[0]),
        )
    return made
