"""``jobmon schedules``: which schedulers live, and what each entry of theirs sends when."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from jobmon import settings as configuration
from jobmon.cli import Exit
from jobmon.cli.tables import LONGEST, ago, cell, console, duration, table
from jobmon.inert import inert
from jobmon.store import connection
from jobmon.store.reader import Reader
from jobmon.store.schedules import ScheduleEntry, SchedulerState, Schedules

_ALARMING: Final = frozenset({"down", "late", "failed"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 if a scheduler is down, or an entry late or not sent",
    )


def run(args: argparse.Namespace) -> int:
    """Print schedulers and entries as they were last told."""
    settings = configuration.load()
    with connection.connect(settings) as client:
        found = Reader(client, settings).schedules()
    now = time.time()
    if args.format == "json":
        print(json.dumps({"at": now, **asdict(found)}, indent=2))
    else:
        console().print(_shown(found, now))
    return Exit.FAILED if args.check and not _is_well(found) else Exit.DONE


def _is_well(found: Schedules) -> bool:
    return all(one.up for one in found.schedulers) and not any(
        one.state in _ALARMING for one in found.entries
    )


def _shown(found: Schedules, now: float) -> RenderableType:
    return Group(_schedulers(found.schedulers, now), Text(), _entries(found.entries, now))


def _schedulers(schedulers: tuple[SchedulerState, ...], now: float) -> RenderableType:
    if not schedulers:
        return Text("Schedulers: none seen yet")
    made = table("Schedulers", "scheduler", "kind", "host", "state", "last turn", "serves")
    for one in schedulers:
        made.add_row(
            cell(one.name),
            cell(f"{one.engine} {one.kind}"),
            cell(f"{one.hostname}:{one.pid}"),
            Text("up", "green")
            if one.up
            else Text(f"down for {duration(now - one.last_seen_at)}", "red"),
            ago(one.last_turn_at, now),
            cell(_served(one)),
        )
    return made


def _served(one: SchedulerState) -> str:
    if one.kind == "scheduled":
        return ", ".join(one.queues) or "no queue"
    return "?" if one.entries is None else f"{one.entries} entries"


def _entries(entries: tuple[ScheduleEntry, ...], now: float) -> RenderableType:
    if not entries:
        return Text("Schedules: no entry")
    made = table(
        "Schedules", "entry", "schedule", "state", "last due", "last sent", "next due", "job"
    )
    for one in entries:
        made.add_row(
            cell(one.name),
            cell(f"{one.schedule} {one.timezone}".strip()),
            _state(one),
            ago(one.last_due_at, now),
            ago(one.last_sent_at, now),
            _next(one, now),
            cell(one.job_name),
        )
    return made


def _state(one: ScheduleEntry) -> Text:
    if one.late_seconds:
        return Text(f"{inert(one.state)}, late {duration(one.late_seconds)}", "red")
    if one.state == "failed":
        return Text(f"not sent: {inert(one.error or '', LONGEST)}", "red")
    return Text(inert(one.state), {"ok": "green", "down": "red"}.get(one.state, ""))


def _next(one: ScheduleEntry, now: float) -> str:
    # What is known is some seconds old: an entry that is not late has been sent meanwhile.
    if one.state == "ok" and one.next_due_at is not None and one.next_due_at <= now:
        return "now"
    return ago(one.next_due_at, now)
