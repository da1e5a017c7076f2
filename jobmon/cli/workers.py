"""``jobmon workers``: which workers live, what they serve, and what they run."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import RenderableType
from rich.text import Text

from jobmon import settings as configuration
from jobmon.cli import Exit
from jobmon.cli.tables import ago, cell, console, duration, table
from jobmon.store import connection
from jobmon.store.reader import Reader
from jobmon.store.workers import WorkerState

_MIB: Final = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a worker is down or silent"
    )


def run(args: argparse.Namespace) -> int:
    """Print workers as they were last seen."""
    settings = configuration.load()
    with connection.connect(settings) as client:
        found = Reader(client, settings).workers()
    now = time.time()
    if args.format == "json":
        print(json.dumps({"at": now, "workers": [asdict(one) for one in found]}, indent=2))
    else:
        console().print(_shown(found, now))
    is_well = all(one.state == "up" for one in found)
    return Exit.DONE if is_well or not args.check else Exit.FAILED


def _shown(workers: Sequence[WorkerState], now: float) -> RenderableType:
    if not workers:
        return Text("Workers: none seen")
    made = table(
        "Workers", "worker", "engine", "host", "state", "started", "busy", "memory", "queues"
    )
    for one in workers:
        made.add_row(
            cell(one.name),
            cell(f"{one.engine} {one.version} {one.pool}"),
            cell(f"{one.hostname}:{one.pid}"),
            _state(one, now),
            ago(one.started_at, now),
            f"{one.busy} of {one.slots}",
            f"{one.resident_memory_bytes // _MIB} MiB" if one.resident_memory_bytes else "?",
            cell(", ".join(one.queues)),
        )
    return made


def _state(one: WorkerState, now: float) -> Text:
    if one.state == "up":
        return Text("up", "green")
    color = "red" if one.state == "down" else "yellow"
    return Text(f"{one.state} for {duration(now - one.last_seen_at)}", color)
