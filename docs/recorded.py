"""The page *What is recorded when*, made from the tables that the live tests run through."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path

from tests.live.matrix import Row

_TABLES = (("Celery", "celery_matrix"), ("RQ", "rq_matrix"))
_LIVE = Path(__file__).parent.parent / "tests" / "live"


def page() -> str:
    """``reference/recorded.md``."""
    lines = [
        "# What is recorded when",
        "",
        "Each row is a test on real workers. *Attempt* is jobmon's own number: one more at each",
        "further publish of the same id. *Counters* are those of the command's run, beside",
        "`job_count`; what is not named stays 0.",
        "",
    ]
    for title, module in _TABLES:
        if (_LIVE / f"{module}.py").exists():
            rows: Sequence[Row] = import_module(f"tests.live.{module}").ROWS
            lines += [f"## {title}", ""]
            for group, members in groupby(rows, key=lambda row: row.group):
                lines += _table(group, list(members))
    return "\n".join(lines).rstrip() + "\n"


def _table(group: str, rows: Sequence[Row]) -> list[str]:
    lines = [f"### {group}", ""] if group else []
    lines += ["| what happens | status | outcome | attempt | counters | remark |"]
    lines += ["|---|---|---|--:|---|---|"]
    for row in rows:
        counters = ", ".join(f"`{name}` {number}" for name, number in row.counters.items())
        cells = (row.happens, row.status or "–", row.outcome, str(row.attempt), counters)
        lines.append(f"| {' | '.join(cells)} | {row.remark} |")
    return [*lines, ""]
