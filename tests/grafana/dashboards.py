"""The dashboards that are checked in, and what may be named in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from grafana import build
from jobmon.metrics import catalogue, process

NAMES: Final = tuple(build.DASHBOARDS)
DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    name: json.loads((build.FOLDER / f"{name}.json").read_text()) for name in NAMES
}
SCRAPED: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds."""
OF_PROMETHEUS: Final = {"scrape_duration_seconds": SCRAPED}
OF_A_PROCESS: Final = frozenset(family.name for family in process.FAMILIES)

IN_CATALOGUE: Final = {
    family.name: family
    for families in (*catalogue.GROUPS.values(), process.FAMILIES)
    for family in families
}


class Asked(NamedTuple):
    """A query of a panel."""

    dashboard: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def expression(self) -> str:
        return self.target["expr"]

    @property
    def where(self) -> str:
        return f"{self.dashboard}: {self.panel['title']}: {self.expression}"


def panels(name: str) -> list[dict[str, Any]]:
    """All but the headings."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def asked(name: str) -> Iterator[Asked]:
    """Every query of every panel."""
    for panel in panels(name):
        for target in panel["targets"]:
            yield Asked(name, panel, target)


def variables(name: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}


def annotations(name: str) -> list[dict[str, Any]]:
    return DASHBOARDS[name]["annotations"]["list"]


def series() -> dict[str, frozenset[str]]:
    """Labels of every series that may be named."""
    found = dict(OF_PROMETHEUS)
    for name, family in IN_CATALOGUE.items():
        labels = {*family.labels, *SCRAPED}
        if name not in OF_A_PROCESS:
            labels.add("app")
        if family.type == "histogram":
            found[f"{name}_bucket"] = frozenset({*labels, "le"})
            found[f"{name}_count"] = found[f"{name}_sum"] = frozenset(labels)
        else:
            found[name] = frozenset(labels)
    return found


def every_family() -> set[str]:
    """Names of the families that jobmon has."""
    return set(IN_CATALOGUE)


def family_of(name: str) -> str:
    """The family of a series."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if name.endswith("bucket") else name
