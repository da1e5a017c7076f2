"""All families together: names, labels, both formats, and what Prometheus' own linter says."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition, parser

from jobmon.metrics import catalogue, process
from jobmon.metrics.catalogue import process_registry, store_registry
from jobmon.metrics.process import Activity
from jobmon.model import Outcome
from jobmon.store import connection
from jobmon.store.reader import Reader
from tests.serving import Recorded

FAMILIES = [
    *(family for group in catalogue.GROUPS.values() for family in group),
    *process.FAMILIES,
]


def test_names_are_unique_and_follow_the_conventions() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert re.fullmatch("jobmon_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.type == "counter")
        assert (family.type == "histogram") == bool(family.bounds)
        assert family.help.endswith(".")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_label_is_one_that_prometheus_sets_itself(family: catalogue.Family[object]) -> None:
    assert not {"job", "instance", "app", "le"} & set(family.labels)
    assert len(set(family.labels)) == len(family.labels)


@pytest.fixture
def pages(recorded: Recorded) -> dict[str, bytes]:
    """Both pages of a store with a bit of everything, with a label full of special characters."""
    run = recorded.run('quote " backslash \\ brace { comma ,')
    for outcome in Outcome:
        run.job(outcome)
    run.job()
    run.end(Outcome.FAILED, 1)
    recorded.run("other:command")
    activity = Activity()
    activity.answered("GET", "/metrics", 200)
    activity.collected(0.02)
    with connection.connect(recorded.settings) as client:
        shared = store_registry(Reader(client, recorded.settings), "shop")
        return {
            "text": generate_latest(shared),
            "openmetrics": exposition.generate_latest(shared),
            "self": generate_latest(process_registry(activity)),
        }


@pytest.mark.parametrize("page", ["text", "self"])
def test_promtool_finds_nothing_to_say(page: str, pages: dict[str, bytes]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on PATH")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=pages[page], capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_openmetrics_is_valid_and_says_the_same(pages: dict[str, bytes]) -> None:
    families = list(parser.text_string_to_metric_families(pages["openmetrics"].decode()))
    assert {family.name for family in families} == {
        family.name.removesuffix("_total")
        for group in catalogue.GROUPS.values()
        for family in group
    }
    samples = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families
        for sample in family.samples
    }
    lines = [line for line in pages["text"].decode().split("\n") if line and line[0] != "#"]
    assert len(samples) == len(lines)
    assert not any(name.endswith("_created") for name, _ in samples)


def test_one_reading_of_the_store_makes_one_page(recorded: Recorded) -> None:
    recorded.run().jobs(3, Outcome.COMPLETED)
    with connection.connect(recorded.settings) as client:
        registry = store_registry(Reader(client, recorded.settings), "shop")
        before = client.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"]
        generate_latest(registry)
        after = client.info("commandstats")["cmdstat_exec"]["calls"]
    assert after - before == 1
