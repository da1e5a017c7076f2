"""What full runs found, kept in tables of the docs."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
FULL = os.environ.get("JOBMON_SOAK") == "1"


def machine() -> str:
    """What the numbers of this run are from."""
    return (
        f"CPython {platform.python_version()}, Celery {version('celery')}, RQ {version('rq')}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    )


def write_row(page: Path, *cells: str) -> None:
    """Put a row into the page's only table, in the place of one with the same first cell."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|---")) + 1
    end = start
    while end < len(lines) and lines[end].startswith("| "):
        end += 1
    others = [row for row in lines[start:end] if not row.startswith(f"| {cells[0]} |")]
    lines[start:end] = sorted([*others, f"| {' | '.join(cells)} |"])
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
