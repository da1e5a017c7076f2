"""``jobmon init``: a ``jobmon.toml`` that shows every setting, all of them commented out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import cast

from jobmon.cli import Exit, say
from jobmon.settings import KEYS, Key, Listen

_PATH = "jobmon.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say more in the help; there are no options."""
    parser.epilog = f"Writes {_PATH} in the current directory; an existing one is left alone."


def run(_args: argparse.Namespace) -> int:
    """Write the file, unless there is one."""
    path = Path(_PATH)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        say(f"jobmon init: {path} exists; it is left as it is")
        return Exit.FAILED
    except OSError as error:
        say(f"jobmon init: cannot write {path}: {error.strerror}")
        return Exit.FAILED
    print(f"Wrote {path}. Every setting has its default until you uncomment it.")
    return Exit.DONE


def template() -> str:
    """The file's text: each key with its meaning, what is allowed and its default."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# jobmon: every setting with its default. Uncomment what you change."
    yield "# The variable named beside a setting wins over this file; `jobmon doctor` shows both."
    section = ""
    for key in KEYS.values():
        table, _, name = key.name.rpartition(".")
        if table != section:
            section = table
            yield ""
            yield f"[{table}]"
        yield ""
        text = f"{key.meaning} Allowed: {key.rule.allowed}. {key.variable}"
        yield from (f"# {line}" for line in wrap(text, 96, break_on_hyphens=False))
        yield f"#{name} = {_toml(key)}"
    yield ""
    yield "# Other Redis connections, each complete in itself; redis.connection names the one used."
    yield "#[redis.connections.NAME]"
    yield '#host = "127.0.0.1"'


def _toml(key: Key) -> str:
    value = key.default
    if isinstance(value, Listen):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in cast("tuple[object, ...]", value)])
    if isinstance(value, Mapping):
        return "{}"
    return '"..."' if value is None else json.dumps(value, ensure_ascii=False)
