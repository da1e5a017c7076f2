"""All families together: names, labels, both formats, and what Prometheus' own linter says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from jobmon.metrics import catalogue, process
from jobmon.metrics.catalogue import process_registry, shared
from jobmon.metrics.exposition import printed
from jobmon.metrics.family import Family, Marked
from jobmon.metrics.process import Activity
from jobmon.model import Outcome
from jobmon.store import connection
from jobmon.store.reader import Reader
from jobmon.store.state import Exemplar, Histogram
from tests.serving import Recorded

FAMILIES = [
    *(family for group in catalogue.GROUPS.values() for family in group),
    *process.FAMILIES,
]


class Fixed(Collector):
    """Families that stay as they are."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


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
        families = shared(Reader(client, recorded.settings), "shop")
        return {
            "text": families.page(openmetrics=False),
            "openmetrics": families.page(openmetrics=True),
            "self": generate_latest(process_registry(activity)),
        }


@pytest.mark.parametrize(
    "odd",
    [b"9" * 400, b"-" + b"9" * 400, b"9" * 5000, b"1e400", b"\xff", b"", b"{}", b"[]", b"[1e999]"],
    ids=lambda odd: repr(odd)[:12],
)
@pytest.mark.parametrize("openmetrics", [True, False])
def test_no_value_of_the_store_is_too_odd_for_a_page(
    pages: dict[str, bytes], recorded: Recorded, odd: bytes, openmetrics: bool
) -> None:
    assert pages
    with connection.connect(recorded.settings) as client:
        raw: Any = client
        for name in raw.scan_iter():
            if raw.type(name) == b"hash":
                fields = raw.hkeys(name)
                raw.hset(name, mapping={**dict.fromkeys(fields, odd), "1:duration:x": odd})
            elif raw.type(name) == b"string":
                raw.set(name, odd)
        for own in ("totals:jobs", "totals:commands"):
            for field in ("1:duration:sum_us", "1:run_duration:sum_us", "1:last_start", "1:1:1"):
                raw.hset(f"jobmon:{own}", field, odd)
        for own in ("sync", "analysis", "deliveries"):
            raw.hset(f"jobmon:totals:{own}", mapping={"began_ms": odd, "waiting:x": odd})
        raw.hset("jobmon:totals:recorder", "lag_ms", odd)
        for name in ("anomalies:shown", "bounds:commands", "bounds:queues", "workers", "schedules"):
            raw.hset(f"jobmon:{name}", "celery\x1fq", odd)
        for engine in ("celery", "rq"):
            raw.set(f"jobmon:queues:polled:{engine}", odd)
        families = shared(Reader(client, recorded.settings), "shop")
        assert b"jobmon_command_runs_total" in families.page(openmetrics=openmetrics)


@dataclass
class Given:
    """What the families below are read from."""

    number: float
    exemplar: Exemplar


ODD: tuple[Family[Given], ...] = (
    Family(
        "odd",
        "gauge",
        'A \\ with "quotes" and\na line.',
        ("b", "a"),
        lambda given: [(('"', "\\\n☃"), given.number), (("", " "), 1)],
    ),
    Family("bare", "gauge", "Without labels.", (), lambda given: [((), given.number)]),
    Family("none", "counter", "Without series.", (), lambda _: []),
    Family(
        "marked_total",
        "counter",
        "Marked.",
        ("a",),
        lambda given: [(("x",), Marked(7, given.exemplar)), (("y",), 1234567)],
    ),
    Family(
        "times",
        "histogram",
        "Times.",
        ("a",),
        lambda given: [
            (("x",), Histogram((1, 0, 2), 3.5, {0: given.exemplar, 2: given.exemplar})),
            (("y",), Histogram((0, 0, 1234567), 0.1)),
        ],
        (0.5, 1.0),
    ),
)


@pytest.mark.parametrize(
    "number", [0, 1, 0.1, 2.5, 1234567, 1e6, 1e21, -3.0, float("inf"), 1790000000.123]
)
@pytest.mark.parametrize("constant", [(), (("app", 'sh"op'),)])
def test_both_pages_say_what_prometheus_client_would(
    number: float, constant: tuple[tuple[str, str], ...]
) -> None:
    given = Given(number, Exemplar("1" * 32, "2" * 16, 0.25, 1790000000.123))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fixed(family.metric(given, constant) for family in ODD))
    text = printed(ODD, given, constant, openmetrics=False)
    assert list(text_string_to_metric_families(text.decode())) == list(
        text_string_to_metric_families(generate_latest(registry).decode())
    )
    opened = printed(ODD, given, constant, openmetrics=True)
    assert list(parser.text_string_to_metric_families(opened.decode())) == list(
        parser.text_string_to_metric_families(openmetrics.generate_latest(registry).decode())
    )
    assert (text.count(b" # {"), opened.count(b" # {")) == (0, 3)


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
        families = shared(Reader(client, recorded.settings), "shop")
        before = client.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"]
        families.page(openmetrics=True)
        after = client.info("commandstats")["cmdstat_exec"]["calls"]
    assert after - before == 1
