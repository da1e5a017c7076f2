"""Writes the pages of the reference that are made from code; a test checks that they are current.

Run by ``make docs``. Build time only: nothing of it ships.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from docs import acceptance, recorded
from jobmon.instrument import click, django
from jobmon.metrics import catalogue, compat
from jobmon.settings import KEYS, explain, load
from jobmon.store import keys

ROOT: Final = Path(__file__).parent
MADE: Final = "<!-- Made from code by `make docs`; do not edit. -->"


def settings_page() -> str:
    """``reference/settings.md``."""
    defaults = {row.key: row.value for row in explain(load(environ={}, cwd=Path("/nonexistent")))}
    lines = [
        MADE,
        "",
        "# Settings",
        "",
        "A value comes from the first of these that has it:",
        "",
        '1. arguments of the call, as in `jobmon.instrument({"redis.url": "redis://state"})`;',
        "   options of the command line",
        "2. the environment: `JOB_MONITOR_` + the key in capitals, `.` → `_`; an empty variable",
        "   counts as unset",
        "3. `jobmon.toml` in the working directory, or the file named by `JOB_MONITOR_CONFIG`",
        "4. the table `[tool.jobmon]` of `pyproject.toml` in the working directory",
        "5. the default",
        "",
        "Lists are written as TOML arrays, JSON arrays, or with commas. Of a key marked secret,",
        "the variable with `_FILE` at its end names a file that holds the value. `jobmon doctor`",
        "prints every value with its source, `jobmon init` writes a commented `jobmon.toml`.",
        "",
        "A value that is not allowed, or a key that does not exist, stops the server and the CLI",
        "with exit code 2 and a message that names all of them; a worker logs each once and uses",
        "the default. A `JOB_MONITOR_` variable that jobmon does not know is a warning.",
        "",
        "| key | default | allowed | meaning |",
        "|---|---|---|---|",
    ]
    for key in KEYS.values():
        default = f"`{defaults[key.name]}`" if defaults[key.name] else "–"
        secret = " Secret." if key.secret else ""
        cells = (f"`{key.name}`", default, key.rule.allowed, f"{key.meaning}{secret}")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """``reference/commands.md``."""
    lines = [
        MADE,
        "",
        "# Commands that are left out",
        "",
        "They are no units of work: servers and workers that run until they are told to stop,",
        "shells and prompts that wait for a person, and tools that test, print or write code. A",
        "pattern in `commands.include` other than `*` takes in what it matches.",
        "",
        "**Django**, by the command's name:",
        ", ".join(f"`{name}`" for name in sorted(django.LEFT_OUT)) + ".",
        "",
        "**Click and Typer**, the commands that these packages define themselves:",
        ", ".join(f"`{name}`" for name in sorted(click.TOOLS)) + ".",
    ]
    return "\n".join(lines) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "acceptance.md": acceptance.page,
    "reference/commands.md": commands_page,
    "reference/metrics.md": catalogue.reference,
    "reference/recorded.md": recorded.page,
    "reference/redis-keys.md": keys.reference,
    "reference/settings.md": settings_page,
}


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


DATA: Final[dict[str, Callable[[], str]]] = {
    "../exporters/catalogue.json": lambda: _json(catalogue.described()),
    **{
        f"../exporters/{name}/mapping.json": partial(_json, exporter.mapping())
        for name, exporter in compat.EXPORTERS.items()
    },
    **{f"../exporters/{name}/mapping.md": partial(compat.table, name) for name in compat.EXPORTERS},
}
"""What ships beside its programs, by its path from the folder of pages."""


def main() -> None:
    """Write every page."""
    for name, page in {**PAGES, **DATA}.items():
        path = (ROOT / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT.parent)}")


if __name__ == "__main__":
    main()
