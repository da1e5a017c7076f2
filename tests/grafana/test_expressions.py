"""What the dashboards ask for exists, and is counted once however many servers are scraped."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from grafana.source import problems
from tests.grafana.dashboards import (
    NAMES,
    OF_A_PROCESS,
    OF_PROMETHEUS,
    annotations,
    asked,
    every_family,
    family_of,
    panels,
    series,
    variables,
)
from tests.grafana.promql import RANGED, Node, labels_of, parse
from tests.prometheus import binary

REPLICA = {"instance", "pod", "replica", "endpoint", "container"}
QUERIES = [one for name in NAMES for one in asked(name)]
each = pytest.mark.parametrize("name", NAMES)


def expressions(name: str) -> list[str]:
    return [one.expression for one in asked(name)] + [mark["expr"] for mark in annotations(name)]


def of_variable(one: dict[str, Any]) -> tuple[Node, str]:
    """The series that a variable asks for, and the label whose values it takes."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"])
    assert found, one["query"]
    return parse(found[1]), found[2]


@each
def test_series_and_labels_are_in_the_catalogue(name: str) -> None:
    for one in asked(name):
        labels = labels_of(parse(one.expression), series())
        shown = set(re.findall(r"{{(\w+)}}", one.target["legendFormat"]))
        assert shown <= labels, one.where


@each
def test_annotations_and_variables_name_what_is_in_the_catalogue(name: str) -> None:
    known = series()
    for mark in annotations(name):
        labels = labels_of(parse(mark["expr"]), known)
        assert set(re.findall(r"{{(\w+)}}", mark["titleFormat"])) <= labels
    for one in variables(name).values():
        if one["type"] == "query":
            node, label = of_variable(one)
            assert label in labels_of(node, known)


@each
def test_columns_of_labels_are_labels_of_what_a_table_asks_for(name: str) -> None:
    known = series()
    for panel in panels(name):
        if panel["type"] != "table":
            continue
        (organize,) = [one for one in panel["transformations"] if one["id"] == "organize"]
        renamed = set(organize["options"]["renameByName"])
        labels = {
            label for one in panel["targets"] for label in labels_of(parse(one["expr"]), known)
        }
        values = {name for name in renamed if name.startswith("Value")}
        assert renamed - values <= labels, panel["title"]
        shown = [one["refId"] for one in panel["targets"] if one["refId"] != "Z"]
        if len(panel["targets"]) == 1:
            assert values == {"Value"}
        else:
            assert values == {f"Value #{ref_id}" for ref_id in shown}


def dedups(node: Node) -> bool:
    """Whether an aggregation makes the scrapes of several servers one."""
    return (
        node.kind == "aggregation"
        and node.name == "max"
        and (
            (node.grouping == "without" and set(node.labels) >= REPLICA)
            or (node.grouping == "by" and not REPLICA & set(node.labels))
        )
    )


def counts_once(text: str) -> bool:
    """Whether every series is made one, whoever it was scraped from, before it is added up."""
    for node, around in parse(text).walk():
        if node.kind != "selector" or family_of(node.name) in OF_A_PROCESS:
            continue
        if node.name in OF_PROMETHEUS or node.name == "jobmon_build_info":
            continue  # of a scrape, or 1 for each
        first = next((one for one in around if one.kind != "function"), None)
        if first is None or not dedups(first):
            return False
    return True


@each
def test_several_servers_are_counted_once(name: str) -> None:
    for text in expressions(name):
        assert counts_once(text), text


@each
def test_ranges_fit_what_is_drawn(name: str) -> None:
    for one in asked(name):
        for node, around in parse(one.expression).walk():
            if node.range:
                assert around[0].name in RANGED
                allowed = {"$__range", "5m"} if one.target["instant"] else {"$__rate_interval"}
                assert node.range in allowed, one.where
            if node.kind == "function" and node.name in RANGED:
                assert node.parts[0].range


@each
def test_counters_are_asked_for_their_change_and_gauges_for_their_value(name: str) -> None:
    for one in asked(name):
        for node, around in parse(one.expression).walk():
            if node.kind == "selector":
                is_counter = node.name.endswith(("_total", "_bucket"))
                assert is_counter == (around[0].name in ("rate", "increase")), one.where


@each
def test_dates_are_milliseconds_and_nothing_else_is(name: str) -> None:
    for one in asked(name):
        is_moment = one.expression.endswith(" * 1000")
        units = {one.panel["fieldConfig"]["defaults"]["unit"]}
        if one.panel["type"] == "table":
            column = one.target["legendFormat"]
            units = {
                prop["value"]
                for override in one.panel["fieldConfig"]["overrides"]
                if override["matcher"]["options"] == column
                for prop in override["properties"]
                if prop["id"] == "unit"
            }
        assert ("dateTimeFromNow" in units) == is_moment, one.where


def test_exemplars_are_asked_for_where_families_have_them() -> None:
    with_traces = [one for one in QUERIES if one.target.get("exemplar")]
    names = {node.name for one in with_traces for node in parse(one.expression).selectors()}
    assert names == {"jobmon_job_duration_seconds_bucket", "jobmon_jobs_finished_total"}
    assert {one.dashboard for one in with_traces} == {"command", "jobs"}


def test_bounds_are_drawn_dashed() -> None:
    for one in QUERIES:
        if one.panel["type"] == "timeseries" and "_bound" in one.expression:
            overrides = one.panel["fieldConfig"]["overrides"]
            assert one.target["refId"] in [each["matcher"]["options"] for each in overrides]


NOT_SHOWN = {
    "jobmon_command_maximum_run_time_seconds": "the upper bound, which is shown, follows it",
}
"""Families that no dashboard shows, and why."""


def test_every_family_is_shown_somewhere() -> None:
    shown = {
        family_of(node.name)
        for name in NAMES
        for text in expressions(name)
        for node in parse(text).selectors()
    }
    assert every_family() - shown == set(NOT_SHOWN)


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(jobmon_jobs_finished_total[1m]))",
        "sum(max without (instance) (jobmon_sync_unsynced))",
        "max by (instance) (jobmon_sync_unsynced)",
        "max by (app) (sum by (app, instance) (jobmon_sync_unsynced))",
        "max by (app) (jobmon_sync_unsynced + jobmon_sync_failures_waiting)",
    ],
)
def test_what_counts_servers_twice_is_found(text: str) -> None:
    assert not counts_once(text)


@pytest.mark.parametrize(
    "text",
    [
        "max by (queu) (jobmon_jobs_pending)",
        'max by (app) (jobmon_jobs_pending{colour="red"})',
        "max by (app) (jobmon_jobs_forgotten)",
        "max by (app) (jobmon_sync_unsynced) + max by (app, queue) (jobmon_jobs_pending)",
        "max by (app) (jobmon_lease_held) and on (app, lease) max by (app) (jobmon_lease_info)",
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        labels_of(parse(text), series())


@pytest.mark.parametrize("text", ["max by (app (up)", "sum()) up", "rates(up)", "up{a=}", "a b"])
def test_what_is_no_promql_is_found(text: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        parse(text)


def test_a_command_is_late_when_its_alert_says_so(tmp_path: Path) -> None:
    late = problems.late('app="a"')
    due = "jobmon_command_next_expected_timestamp_seconds"
    series = {
        f'{due}{{app="a",command="known"}}': "0x20",
        'jobmon_command_grace_seconds{app="a",command="known"}': "60x20",
        f'{due}{{app="a",command="new"}}': "0x20",
    }
    expected = {3: ["known"], 5: ["known"], 6: ["known", "new"]}
    asked = [
        {
            "eval_time": f"{minutes}m",
            "expr": f"count by (command) ({late})",
            "exp_samples": [{"labels": f'{{command="{one}"}}', "value": 1} for one in names],
        }
        for minutes, names in expected.items()
    ]
    written = [{"series": one, "values": values} for one, values in series.items()]
    test = {"interval": "1m", "input_series": written, "promql_expr_test": asked}
    (tmp_path / "test.json").write_text(json.dumps({"rule_files": [], "tests": [test]}))
    said = subprocess.run(
        [binary("promtool"), "test", "rules", str(tmp_path / "test.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
