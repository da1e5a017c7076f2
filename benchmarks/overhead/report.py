"""The tables, for the screen and for the page."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.overhead.rows import ROWS
from benchmarks.overhead.statistics import (
    Estimate,
    Rounds,
    added_by,
    best,
    estimate,
    targets,
    typical_share,
)
from benchmarks.page import processor
from jobmon.demo.processes import store_binary

__all__ = ["conditions", "tables", "targets", "write_page"]

_ENGINES: Final = {"celery": "Celery, prefork, 1 child", "rq": "RQ, Worker that forks"}
_BEGIN: Final = "<!-- results: written by `python -m benchmarks.overhead --page` -->"
_END: Final = "<!-- end of results -->"
_PACKAGES: Final = (
    "celery",
    "rq",
    "redis",
    "hiredis",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-celery",
)


def tables(
    rounds: Rounds, hooks: Mapping[str, Mapping[str, float]], *, jobs: Mapping[str, int]
) -> str:
    """All results as Markdown."""
    lines = [", ".join(f"{name} {value}" for name, value in conditions().items()) + ".", ""]
    for engine, title in _ENGINES.items():
        rows = [key for key in ROWS if key in rounds[0] and ROWS[key].engine == engine]
        if not rows:
            continue
        lines += [
            f"**{title}**: CPU µs per job, least of {len(rounds)} rounds of {jobs[engine]} jobs",
            "",
            "| row | worker | producer | Redis | total | over bare [90 %] | median of turns |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        bare = f"{engine}:bare"
        for key in rows:
            cost = best(rounds, key)
            over = typical = ""
            if bare in rows and key != bare:
                over = _shown(estimate(rounds, added_by(key, bare)), "+.0f")
                if engine == "rq":
                    over += f" = {cost.total / best(rounds, bare).total - 1:+.1%}"
                typical = f"{typical_share(rounds, key, bare):+.1%}"
            lines.append(
                f"| {ROWS[key].title} | {cost.worker:.0f} | {cost.producer:.0f} "
                f"| {cost.redis:.0f} | {cost.total:.0f} | {over} | {typical} |"
            )
        lines.append("")
    if hooks:
        lines += _hooks(hooks)
    found = targets(rounds)
    if found:
        lines += ["| target | at most | measured [90 %] | |", "|---|--:|--:|---|"]
        lines += [
            f"| {one.title} | {one.at_most:g} | {_shown(one.estimate, '.3f')} "
            f"| {'met' if one.met else '**missed**'} |"
            for one in found
        ]
    return "\n".join(lines).rstrip() + "\n"


def conditions() -> dict[str, str]:
    """Machine, versions and date."""
    server = subprocess.run(
        [store_binary(), "--version"], capture_output=True, check=True, text=True
    )
    words = server.stdout.split()
    found = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} × {processor()}, Linux {kernel()}",
        "CPython": platform.python_version(),
        words[0]: next((word[2:] for word in words if word.startswith("v=")), "?"),
    }
    return found | {package: version(package) for package in _PACKAGES}


def kernel() -> str:
    """Its version, without what whoever built it has added."""
    return platform.release().partition("-")[0]


def write_page(page: Path, text: str) -> None:
    """Replace what stands between the page's markers."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}")


def _hooks(hooks: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = list(next(iter(hooks.values())))
    lines = [
        "**The hooks alone** (Celery's signals sent in a loop, no broker): CPU µs per job",
        "",
        "| row | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    for row, parts in hooks.items():
        lines.append(f"| {row} | " + " | ".join(f"{parts[name]:.0f}" for name in names) + " |")
    return [*lines, ""]


def _shown(one: Estimate, form: str) -> str:
    return f"{one.value:{form}} [{one.low:{form}} … {one.high:{form}}]"
