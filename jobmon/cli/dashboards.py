"""``jobmon dashboards``: writes out the Grafana dashboards that come with jobmon."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from jobmon.cli import Exit, say
from jobmon.cli.shipped import folder, put


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser(
        "export",
        help="write the dashboards into a folder",
        description="Writes each dashboard as one JSON file, to be imported or provisioned. "
        "A file that is as it should be is not touched.",
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="made if it does not exist")
    export.add_argument(
        "--datasource",
        metavar="UID",
        help="the Prometheus that dashboards start with (default: Grafana's own default)",
    )


def run(args: argparse.Namespace) -> int:
    """Write them."""
    shipped = folder("grafana")
    for source in sorted((shipped / "dashboards").glob("*.json")):
        text = source.read_text(encoding="utf-8")
        if args.datasource is not None:
            text = _starting_with(text, args.datasource)
        target: Path = args.folder / source.name
        print("wrote" if put(target, text) else "unchanged", target)
    say(f"Import them in Grafana, or have it read the folder: see {shipped / 'provisioning'}.")
    return Exit.DONE


def text_of(dashboard: dict[str, Any]) -> str:
    """A dashboard as its file holds it: the same bytes each time."""
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _starting_with(text: str, datasource: str) -> str:
    dashboard: dict[str, Any] = json.loads(text)
    for variable in dashboard["templating"]["list"]:
        if variable["name"] == "datasource":
            variable["current"] = {"selected": True, "text": datasource, "value": datasource}
    return text_of(dashboard)
