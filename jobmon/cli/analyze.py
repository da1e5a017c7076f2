"""``jobmon analyze``: what is not normal now, judged without a server."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import TypeAdapter

from jobmon import settings as configuration
from jobmon.analysis.checks import Kind
from jobmon.analysis.report import Anomaly, Report
from jobmon.analysis.rounds import Rounds
from jobmon.analysis.units import many
from jobmon.anomaly import SEVERITIES
from jobmon.answers.analysis import Analysis
from jobmon.cli import Exit, say
from jobmon.cli.handlers import import_handlers
from jobmon.history import database, migrate
from jobmon.inert import inert
from jobmon.publish.publisher import Publisher
from jobmon.server.analysis import answer
from jobmon.server.responses import encoded
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.holding import taken
from jobmon.store.keys import LEADER, PUBLISH
from jobmon.store.lease import Lease

_LONGEST_NAME: Final = 255
_LONGEST_WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.25
_MOST_NEW: Final = 20
"""Commands without enough history that are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--all", action="store_true", help="every command that ran lately (default)"
    )
    parser.add_argument(
        "--command",
        action="append",
        type=_name,
        metavar="NAME",
        help="this command alone; may be repeated",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--fail-on",
        choices=SEVERITIES,
        help="exit with 3 if there is an anomaly, or a missed run, of this severity or a higher",
    )
    parser.add_argument(
        "--no-events", action="store_true", help="keep nothing of it, and tell nobody"
    )
    parser.add_argument(
        "--import",
        action="append",
        dest="modules",
        default=[],
        metavar="MODULE",
        help="import it first, so that its handlers hear of what is found; may be repeated",
    )


def _name(text: str) -> str:
    if 1 <= len(text) <= _LONGEST_NAME:
        return text
    raise argparse.ArgumentTypeError(f"expected 1 to {_LONGEST_NAME} characters")


def run(args: argparse.Namespace) -> int:
    """Judge the newest run of each command, and those that nobody has judged yet.

    Returns:
        0; 1 for a command that did not run, or could not be judged; 2 for ``--all`` beside
        ``--command``; 3 by ``--fail-on``; 75 when another analysis went on for too long.
    """
    if args.all and args.command:
        say("jobmon analyze: --all and --command exclude each other\nSee: jobmon analyze --help")
        return Exit.USAGE
    settings = configuration.load()
    import_handlers(args.modules)
    migrate.prepare(settings)
    report = _judged(settings, args.command, record=not args.no_events)
    if report is None:
        say("Another analysis is running.")
        return Exit.TRY_AGAIN
    if not args.no_events:
        _publish(settings, has_handlers=bool(args.modules))
    _print(report, settings, args.format)
    if report.unknown or report.errors:
        return Exit.FAILED
    return Exit.FOUND if args.fail_on and _is_found(report, args.fail_on) else Exit.DONE


def _judged(settings: Settings, commands: Sequence[str] | None, *, record: bool) -> Report | None:
    rounds = Rounds(settings)
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    try:
        while (report := rounds.all(commands, record=record)) is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_SECONDS)
        return report
    finally:
        rounds.close()


def _publish(settings: Settings, *, has_handlers: bool) -> None:
    """Once, unless a server does, which may have handlers that are not known here."""
    engine = database.connect(settings)
    try:
        with connection.connect(settings) as client:
            if not has_handlers and Lease(client, settings, LEADER).holder() is not None:
                return
            with taken(Lease(client, settings, PUBLISH)) as token:
                if token is not None:
                    Publisher(engine, client, settings).publish(token)
    finally:
        engine.dispose()


def _print(report: Report, settings: Settings, form: str) -> None:
    found = answer(report, settings)
    if form == "json":
        print(encoded(found, TypeAdapter(Analysis)).decode())
    else:
        for line in _lines(report):
            print(line)
    for warning in found.warnings:
        say(inert(warning, 1000))
    for error in report.errors:
        say(inert(error, 1000))


def _lines(report: Report) -> Iterator[str]:
    anomalies = [*report.anomalies, *report.further]
    for one in anomalies:
        yield _line(one)
        yield f"    {one.summary}"
    for one in report.missed:
        due = f"due {one.due_at:%Y-%m-%d %H:%M:%S} UTC"
        kind = Kind.MISSED_EXECUTION
        yield f"{one.severity.upper()} {kind} {inert(one.command_name)} {due}"
        yield f"    {one.summary}"
    new = report.insufficient
    for one in new[:_MOST_NEW]:
        runs = f"{one.runs} of {one.needed} earlier runs"
        yield f"{inert(one.command_name)}: not enough history, {runs}"
    if more := len(new[_MOST_NEW:]):
        yield f"and {more:,} more"
    found = [many(len(anomalies), "anomaly", "anomalies")]
    if report.missed:
        found.append(many(len(report.missed), "missed run"))
    if new:
        found.append(f"{len(new):,} with not enough history")
    found.append(many(len(report.errors), "error"))
    yield f"Analyzed {many(report.commands_analyzed, 'command')}: {', '.join(found)}."


def _line(one: Anomaly) -> str:
    change = "" if one.change_percent is None else f", {one.change_percent:+.2f}%"
    return (
        f"{one.anomaly_severity.upper()} {one.anomaly_type} {inert(one.command_name)} {one.metric} "
        f"{one.anomaly_current:.2f} (baseline {one.anomaly_baseline_avg:.2f}{change})"
    )


def _is_found(report: Report, least: str) -> bool:
    severities = [one.anomaly_severity for one in (*report.anomalies, *report.further)]
    severities += [one.severity for one in report.missed]
    return any(SEVERITIES.index(one) >= SEVERITIES.index(least) for one in severities)
