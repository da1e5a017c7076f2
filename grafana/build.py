"""Writes ``grafana/dashboards`` from ``grafana/source``; ``--check`` says whether they are current.

Build time only: the dashboards ship, this does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.anomalies import anomalies_board
from grafana.source.command import command
from grafana.source.commands import commands
from grafana.source.health import health
from grafana.source.jobs import jobs
from grafana.source.overview import overview
from grafana.source.queues import queues
from grafana.source.workers import workers
from jobmon.cli.dashboards import text_of
from jobmon.cli.shipped import put

FOLDER: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "overview": overview,
    "commands": commands,
    "command": command,
    "jobs": jobs,
    "queues": queues,
    "workers": workers,
    "anomalies": anomalies_board,
    "health": health,
}


def text(name: str) -> str:
    """What the file of a dashboard has to hold."""
    made: dict[str, Any] = json.loads(json.dumps(DASHBOARDS[name](), cls=JSONEncoder))
    return text_of(made)


def main(arguments: list[str] | None = None) -> int:
    """Write them, or compare; 1 if one was not current."""
    parser = argparse.ArgumentParser(prog="python -m grafana.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    old = {path.stem for path in FOLDER.glob("*.json")} - set(DASHBOARDS)
    stale = [f"{name}.json is no dashboard" for name in sorted(old)]
    for name in DASHBOARDS:
        path = FOLDER / f"{name}.json"
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text(name):
                stale.append(f"{path.name} is not current")
        elif put(path, text(name)):
            print(f"wrote {path}")
    for line in stale:
        print(f"grafana: {line}: run python -m grafana.build", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
