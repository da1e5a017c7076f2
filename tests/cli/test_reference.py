"""The page of the command line has every command, each of its options, and every exit code."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmon.cli import Exit
from jobmon.cli.main import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All but ``--help``, those of its own commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from options(below)
        elif not isinstance(action, argparse._HelpAction):
            yield from action.option_strings


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_section_with_each_of_its_options(name: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[name].module).add_arguments(parser)
    section = SECTIONS[f"jobmon {name}"]
    missing = [one for one in options(parser) if not re.search(rf"`{one}(?![\w-])", section)]
    assert not missing


def test_every_exit_code_is_in_the_table() -> None:
    codes = re.findall(r"^\| ([\d, ]+) \|", SECTIONS["Exit codes"], re.MULTILINE)
    assert {str(one.value) for one in Exit} <= set(", ".join(codes).split(", "))
