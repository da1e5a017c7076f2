"""The pages that alerts point to: one each, and what they say to type exists."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from jobmon.cli.main import COMMANDS
from jobmon.server.query import Query, parse
from jobmon.settings import load
from tests.alerts.rules import ALERTS, alerts, labels_of_metrics, uses
from tests.described import table
from tests.prometheus import binary
from tests.serving import PREFIX

PAGES = {path.stem: path for path in (ALERTS / "runbooks").glob("*.md")}
_UUID = "71c4a1d0-0000-4000-8000-000000000000"
_ANYWHERE = re.DOTALL | re.MULTILINE
PARTS = ["Look first", "Causes, and what to do", "False alarm"]


def blocks(name: str, language: str) -> list[str]:
    """Code of a page in some language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", PAGES[name].read_text(), re.DOTALL | re.MULTILINE
    )


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(PAGES) == set(alerts())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_short_and_has_its_parts(name: str) -> None:
    text = PAGES[name].read_text()
    assert text.startswith(f"# {name}\n\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert "\nPeople " in text
    assert len(text.splitlines()) <= 70
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (PAGES[name].parent / target).is_file(), target


def commands(name: str) -> list[str]:
    """What a page says to type: lines of shell, and code in its sentences."""
    text = PAGES[name].read_text()
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    return [
        *lines,
        *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=_ANYWHERE)),
    ]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_command_of_jobmon_exists_with_its_options(name: str) -> None:
    for line in commands(name):
        words = shlex.split(line, comments=True)
        if words[:1] != ["jobmon"]:
            continue
        assert words[1] in COMMANDS, line
        module = importlib.import_module(COMMANDS[words[1]].module)
        parser = argparse.ArgumentParser(prog=f"jobmon {words[1]}", exit_on_error=False)
        module.add_arguments(parser)
        parser.parse_args([_UUID if word == "UUID" else word for word in words[2:]])


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_address_of_the_server_exists(name: str) -> None:
    known = [
        (re.sub(r"\{\w+\}", "(?:ID|UUID)", endpoint.path), endpoint.actions["GET"])
        for endpoint in table()
        if "GET" in endpoint.actions
    ]
    address = r"(?:(\$API)|127\.0\.0\.1:8765)(/[\w/-]+)(?:\?([^\"\s]+))?"
    for is_ours, path, asked in re.findall(address, PAGES[name].read_text()):
        whole = f"{PREFIX if is_ours else ''}{path}"
        actions = [action for pattern, action in known if re.fullmatch(pattern, whole)]
        assert actions, path
        given = parse(actions[0].query or Query, asked.encode()).given
        assert given == dict(parse_qsl(asked)), f"{path}?{asked}"


def test_every_query_is_one_and_asks_for_what_there_is(tmp_path: Path) -> None:
    queries = [query for name in sorted(PAGES) for query in blocks(name, "promql")]
    written = "groups:\n  - name: queries\n    rules:\n"
    for number, query in enumerate(queries):
        written += f"      - record: query_{number}\n        expr: {query.strip()!r}\n"
        for use in uses(query):
            assert use.metric in labels_of_metrics(), query
            assert use.matched <= labels_of_metrics()[use.metric], query
    rules = tmp_path / "queries.yaml"
    rules.write_text(written)
    checked = subprocess.run(
        [binary("promtool"), "check", "rules", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(queries)} rules found" in checked.stdout


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_silence_is_of_this_alert(name: str) -> None:
    for line in commands(name):
        if line.startswith("amtool silence add"):
            assert f"alertname={name}" in shlex.split(line)
            assert "--duration=" in line
            assert "--comment=" in line


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_setting_of_a_command_is_one(name: str, tmp_path: Path) -> None:
    for block in blocks(name, "toml"):
        path = tmp_path / "jobmon.toml"
        path.write_text(block)
        load(environ={}, cwd=tmp_path)
