"""The dashboards are current, and Grafana will take each as it is meant."""

from __future__ import annotations

import copy
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from grafana import build
from grafana.source.boards import SCHEMA
from tests.grafana.dashboards import DASHBOARDS, NAMES, annotations, asked, panels, variables

each = pytest.mark.parametrize("name", NAMES)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {value for key, value in vars(units).items() if isinstance(value, str) and key[0] != "_"}


def built(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grafana.build", *arguments],
        cwd=build.FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_checked_in_is_what_the_source_says() -> None:
    said = built("--check")
    assert said.returncode == 0, said.stderr


def test_a_dashboard_that_is_not_current_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.DASHBOARDS, "jobs", build.DASHBOARDS["queues"])
    assert build.main(["--check"]) == 1


@each
def test_building_twice_gives_the_same_bytes(name: str) -> None:
    text = build.text(name)
    assert text == build.text(name)
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_typed(kept: dict[str, Any]) -> dict[str, Any]:
    """A dashboard as Grafana's own types understand it."""
    register_default_plugins()
    again: dict[str, Any] = json.loads(json.dumps(model.Dashboard.from_json(kept), cls=JSONEncoder))
    for mark, same in zip(again["annotations"]["list"], kept["annotations"]["list"], strict=True):
        # What the types lack, and Prometheus's annotations have.
        mark |= {k: v for k, v in same.items() if k in ("titleFormat", "step", "useValueForTime")}
    return again


@each
def test_it_has_only_what_grafanas_own_types_have(name: str) -> None:
    assert as_typed(DASHBOARDS[name]) == DASHBOARDS[name]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda kept: kept.update(refersh="30s"),
        lambda kept: kept["panels"][1].update(descripton="Good: 0."),
        lambda kept: kept["panels"][1]["targets"][0].update(legend="a"),
        lambda kept: kept["panels"][1]["fieldConfig"]["defaults"].update(units="s"),
        lambda kept: kept["panels"][1]["options"].update(colour="red"),
        lambda kept: kept["templating"]["list"][1].update(allvalue=".*"),
    ],
)
def test_what_they_do_not_have_is_found(wrong: Callable[[dict[str, Any]], None]) -> None:
    kept = copy.deepcopy(DASHBOARDS["overview"])
    wrong(kept)
    assert as_typed(kept) != kept


def lists_of(name: str, key: str) -> list[dict[str, Any]]:
    """What is under a key, wherever it is; the types take these as they are."""
    found: list[dict[str, Any]] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for inner, below in value.items():
                if inner == key and isinstance(below, list):
                    found.extend(below)
                look(below)
        elif isinstance(value, list):
            for below in value:
                look(below)

    look(DASHBOARDS[name])
    return found


OPTIONS = {
    "merge": set(),
    "filterFieldsByName": {"include"},
    "organize": {"excludeByName", "indexByName", "renameByName"},
}


@each
def test_transformations_and_overrides_are_such_as_grafana_knows(name: str) -> None:
    for transformation in lists_of(name, "transformations"):
        assert set(transformation["options"]) == OPTIONS[transformation["id"]]
    for prop in lists_of(name, "properties"):
        assert prop["id"] in {
            *("unit", "decimals", "thresholds", "mappings", "links", "color"),
            *("custom.lineStyle", "custom.lineWidth", "custom.fillOpacity", "custom.cellOptions"),
        }
    for link in lists_of(name, "links"):
        assert link["title"]
        assert link.get("url") or link["type"] == "dashboards"


@each
def test_properties_that_all_have(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"jobmon-{name}"
    assert "id" not in dashboard
    assert dashboard["schemaVersion"] == SCHEMA == 39
    assert dashboard["version"] == 1
    assert dashboard["tags"] == ["jobmon"]
    assert dashboard["editable"] is True
    assert dashboard["graphTooltip"] == 1
    assert dashboard["refresh"] == "30s"
    assert dashboard["time"] == {"from": "now-6h", "to": "now"}
    assert dashboard["title"].startswith("jobmon: ")
    assert dashboard["description"].endswith(".")
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
        *("dashboards", ["jobmon"], True, True),
    )


def test_uids_and_titles_are_unique() -> None:
    for key in ("uid", "title"):
        assert len({dashboard[key] for dashboard in DASHBOARDS.values()}) == len(NAMES) == 8


@each
def test_panels_lie_on_the_grid_side_by_side(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    ids: list[int] = []
    bottom = 0
    for panel in DASHBOARDS[name]["panels"]:
        ids.append(panel["id"])
        at = panel["gridPos"]
        assert at["h"] > 0
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        if panel["type"] == "row":
            assert panel["panels"] == []
            assert at["y"] == bottom
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells
        bottom = max(bottom, at["y"] + at["h"])
    assert ids == list(range(1, len(ids) + 1))


@each
def test_rows_are_full(name: str) -> None:
    widths: dict[int, int] = {}
    for panel in panels(name):
        widths[panel["gridPos"]["y"]] = widths.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(widths.values()) == {24}, widths


@each
def test_each_panel_says_what_it_shows_and_what_good_looks_like(name: str) -> None:
    for panel in panels(name):
        assert 0 < len(panel["title"]) <= 40
        description = panel["description"]
        assert "Good: " in description, panel["title"]
        assert description.endswith("."), panel["title"]
        assert len(description) < 300


@each
def test_titles_within_a_section_differ(name: str) -> None:
    section: list[str] = []
    for panel in DASHBOARDS[name]["panels"]:
        if panel["type"] == "row":
            section = []
        else:
            assert panel["title"] not in section
            section.append(panel["title"])


def rows(name: str) -> list[str]:
    return [panel["title"] for panel in DASHBOARDS[name]["panels"] if panel["type"] == "row"]


@each
def test_it_says_first_whether_anything_is_wrong(name: str) -> None:
    assert rows(name)[0] == "Is anything wrong now?"


@pytest.mark.parametrize("name", ["overview", "command", "jobs"])
def test_it_answers_in_the_order_in_which_somebody_asks(name: str) -> None:
    asks = ["wrong now", "since when", "normal", "failed"]
    text = " ".join(rows(name)).lower()
    found = [text.find(words) for words in asks]
    assert found == sorted(found)
    assert found[0] >= 0


@each
def test_every_unit_is_one_of_grafanas(name: str) -> None:
    found = re.findall(r'"unit": "([^"]*)"', json.dumps(DASHBOARDS[name]))
    units_of_overrides = [
        prop["value"] for prop in lists_of(name, "properties") if prop["id"] == "unit"
    ]
    assert found
    for unit in (*found, *units_of_overrides):
        assert unit in UNITS or unit.startswith("suffix: "), unit
    for panel in panels(name):
        assert panel["fieldConfig"]["defaults"]["unit"]


@each
def test_every_query_asks_the_datasource_that_was_chosen_and_names_what_it_gets(
    name: str,
) -> None:
    for one in asked(name):
        assert one.panel["datasource"] == one.target["datasource"] == SOURCE, one.where
        assert one.target["instant"] is not one.target["range"], one.where
        is_row = one.panel["type"] == "table" and one.target["refId"] == "Z"
        assert one.target["legendFormat"] or is_row, one.where
    for mark in annotations(name):
        assert mark["datasource"] == SOURCE
        assert mark["titleFormat"]


@each
def test_queries_of_a_panel_are_told_apart(name: str) -> None:
    for panel in panels(name):
        ids = [target["refId"] for target in panel["targets"]]
        assert len(ids) == len(set(ids)) > 0


@each
def test_what_can_be_chosen_is_used_and_what_is_used_can_be_chosen(name: str) -> None:
    known = variables(name)
    assert list(known)[:2] == ["datasource", "app"]
    assert known["datasource"]["type"] == "datasource"
    assert known["datasource"]["query"] == "prometheus"
    queries = [t["expr"] for panel in panels(name) for t in panel["targets"]]
    queries += [mark["expr"] for mark in annotations(name)]
    queries += [one["query"] for one in known.values() if one["type"] == "query"]
    used = set(re.findall(r"\$(?!__)(\w+)", " ".join(queries)))
    assert used == set(known) - {"datasource"}
    for one in known.values():
        if one["name"] == "datasource":
            continue
        assert one["datasource"] == SOURCE
        assert one["refresh"] == 2
        is_one = (name, one["name"]) == ("command", "command")
        assert one["multi"] is one["includeAll"] is not is_one
        if not is_one:
            assert one["allValue"] == ".*"
            assert one["current"]["value"] == "$__all"


@each
def test_a_variable_asks_for_what_stands_before_it_alone(name: str) -> None:
    before: set[str] = set()
    for one in variables(name).values():
        if one["type"] == "query":
            assert set(re.findall(r"\$(\w+)", one["query"])) <= before
        before.add(one["name"])


@each
def test_links_lead_to_dashboards_and_set_variables_that_they_have(name: str) -> None:
    urls = re.findall(r'"url": "(/[^"]+)"', json.dumps(DASHBOARDS[name]))
    assert urls or name in ("health", "command")
    for url in urls:
        path, _, query = url.partition("?")
        assert path.startswith("/d/jobmon-")
        target = path.removeprefix("/d/jobmon-")
        assert target in NAMES
        assert target != name
        parts = query.split("&")
        assert parts[:3] == ["${datasource:queryparam}", "${app:queryparam}", "${__url_time_range}"]
        for part in parts[3:]:
            variable = re.fullmatch(r"var-(\w+)=\$\{__value.raw\}", part)
            assert variable, url
            assert variable[1] in variables(target)
