"""``jobmon events``: what was found, as it is found; calls handlers of one's own."""

from __future__ import annotations

import argparse
import json
import re
from typing import Final

from jobmon import settings as configuration
from jobmon.anomaly import SEVERITIES, PerformanceAnomalyDetected
from jobmon.cli import Exit
from jobmon.cli.handlers import import_handlers
from jobmon.cli.stopping import stopped_by_signals
from jobmon.errors import UsageError
from jobmon.inert import inert
from jobmon.publish.handlers import HandlerSink
from jobmon.publish.listener import BEGINNING, Heard, Listener
from jobmon.store import connection

_LONGEST_SUMMARY: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C"
    )
    parser.add_argument(
        "--since",
        metavar="ID|AGO",
        help="begin after that entry of the stream, or so long ago: 90s, 15m, 2h, 3d",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it, then call its jobmon.on_anomaly handlers; implies --follow, and begins "
        "with what comes from now on",
    )
    parser.add_argument(
        "--once", action="store_true", help="with --import: what is there, and no more"
    )
    parser.add_argument(
        "--group",
        type=_group,
        metavar="NAME",
        help="share the events with the group's other listeners: each is handled by one, and "
        "begun again by another if that one dies",
    )
    parser.add_argument(
        "--command", action="append", metavar="NAME", help="of this command; may repeat"
    )
    parser.add_argument("--type", action="append", metavar="TYPE", help="of this kind; may repeat")
    parser.add_argument("--min-severity", choices=SEVERITIES, default=SEVERITIES[0])
    parser.add_argument("--format", choices=("text", "json"), default="text")


def _group(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9:._-]{1,100}", text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 100 letters, digits, : . _ -")


def run(args: argparse.Namespace) -> int:
    """Print events, and hand them to handlers.

    Returns:
        0; 2 when a module cannot be imported or has no handlers; 69 when Redis is away, unless
        it follows, and then waits; 130 or 143 after a signal, once the handlers have returned.
    """
    follow = args.follow or (bool(args.modules) and not args.once)
    if args.once and args.follow:
        raise UsageError("--once: expected without --follow")
    import_handlers(args.modules)
    handlers = HandlerSink() if args.modules else None
    is_new_only = args.group is not None or (handlers is not None and follow)
    beginning = None if is_new_only else BEGINNING
    since = beginning if args.since is None else args.since
    settings = configuration.load()
    with connection.connect(settings) as client, stopped_by_signals() as stopped:
        try:
            listener = Listener(client, settings, group=args.group, since=since, stop=stopped.event)
        except ValueError as error:
            raise UsageError(f"--since: {error}") from None
        for heard in listener.events(follow=follow):
            if not _is_wanted(heard.event, args):
                continue
            _print(heard, args.format)
            if handlers is not None:
                handlers.deliver(heard.event)
        return stopped.code or Exit.DONE


def _is_wanted(event: PerformanceAnomalyDetected, args: argparse.Namespace) -> bool:
    return (
        (args.command is None or event.command_name in args.command)
        and (args.type is None or event.anomaly_type in args.type)
        and SEVERITIES.index(event.anomaly_severity) >= SEVERITIES.index(args.min_severity)
    )


def _print(heard: Heard, form: str) -> None:
    event = heard.event
    if form == "json":
        document = {"entry": heard.entry_id, **event.to_dict()}
        print(json.dumps(document, separators=(",", ":"), default=str), flush=True)
        return
    print(
        heard.entry_id,
        f"{event.detected_at:%Y-%m-%d %H:%M:%S}",
        event.state,
        event.anomaly_severity.upper(),
        inert(event.anomaly_type),
        inert(event.summary, _LONGEST_SUMMARY),
        flush=True,
    )
