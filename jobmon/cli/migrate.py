"""``jobmon migrate``: make or change the tables of the history."""

from __future__ import annotations

import argparse
import sys

from jobmon import settings as configuration
from jobmon.cli import Exit
from jobmon.history import database, migrate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--to",
        metavar="VERSION",
        type=_known,
        default=migrate.HEAD,
        help="stop at this version of the schema (default: the newest)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 if the schema lacks a version",
    )
    instead.add_argument(
        "--sql",
        action="store_true",
        help="change nothing; print the statements, from an empty database on, or with "
        "--to FROM:TO from that version on",
    )


def run(args: argparse.Namespace) -> int:
    """Bring the schema up to date.

    Returns:
        0; with ``--check`` 1 when a version is lacking.
    """
    settings = configuration.load()
    if args.sql:
        sys.stdout.write(migrate.sql(settings, args.to))
        return Exit.DONE
    engine = database.connect(settings, statement_seconds=None)
    try:
        if args.check:
            return _checked(migrate.check(engine, settings, args.to))
        for version in migrate.upgrade(engine, settings, args.to):
            print(f"Made {version}.")
        print(f"The schema is {migrate.current(engine, settings)}.")
        return Exit.DONE
    finally:
        engine.dispose()


def _known(text: str) -> str:
    known = migrate.versions()
    for one in text.split(":", 1):
        if one not in (migrate.HEAD, *known):
            problem = f"no version {one!r} of the schema; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(problem)
    return text


def _checked(missing: list[str]) -> int:
    for version in missing:
        print(f"Missing: {version}.")
    if not missing:
        print("The schema is up to date.")
    return Exit.FAILED if missing else Exit.DONE
