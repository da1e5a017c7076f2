"""The rules that ship, and just enough of PromQL to hold them against the catalogue of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from jobmon.metrics import catalogue

ALERTS: Final = Path(__file__).parents[2] / "alerts"
RULES: Final = sorted((ALERTS / "prometheus").glob("*.rules.yaml"))
UNIT_TESTS: Final = sorted((ALERTS / "tests").glob("*.test.yaml"))
REPLICAS: Final = "without (instance, pod, replica, endpoint, container)"
_METRIC: Final = re.compile(r"(?<![\w:$.])((?:app\w*:)?jobmon_\w+(?::\w+)?)(\{[^}]*\})?")
_CALL: Final = re.compile(r"(\w+)\s*(?:(by|without|on|ignoring)\s*\(([^()]*)\)\s*)?$")


@cache
def loaded(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def rules() -> list[dict[str, Any]]:
    """Every rule that ships."""
    return [rule for path in RULES for group in loaded(path)["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def seconds(duration: str) -> int:
    """Of a duration as Prometheus writes it."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([smhd])", duration))


@cache
def labels_of_metrics() -> dict[str, frozenset[str]]:
    """By each name that a query may use, its labels: families, histograms' parts, recorded ones."""
    found: dict[str, frozenset[str]] = {}
    for family in (family for group in catalogue.GROUPS.values() for family in group):
        labels = frozenset(("app", *family.labels))
        if family.type == "histogram":
            for suffix in ("_sum", "_count"):
                found[family.name + suffix] = labels
            found[family.name + "_bucket"] = labels | {"le"}
        else:
            found[family.name] = labels
    for rule in rules():
        if "record" in rule:
            grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
            assert grouped, rule["record"]
            found[rule["record"]] = frozenset(re.findall(r"\w+", grouped[1])) - {"le"}
    return found


@dataclass(frozen=True)
class Call:
    """A function or an aggregation around a metric."""

    name: str
    clause: str
    """``by (…)`` or the like, or nothing."""
    labels: frozenset[str]


@dataclass(frozen=True)
class Use:
    """A metric in an expression."""

    metric: str
    matched: frozenset[str]
    """Labels in its braces."""
    around: tuple[Call, ...]
    """Innermost first."""


def uses(expression: str) -> Iterator[Use]:
    """Every metric of an expression."""
    for found in _METRIC.finditer(expression):
        matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', found[2] or ""))
        yield Use(found[1], frozenset(matched), tuple(_around(expression, found.start())))


def _around(expression: str, place: int) -> Iterator[Call]:
    depth = 0
    for at in range(place - 1, -1, -1):
        if expression[at] == ")":
            depth += 1
        elif expression[at] == "(":
            if depth:
                depth -= 1
            elif called := _CALL.search(expression[:at]):
                name, clause, labels = called.groups()
                if name not in ("and", "or", "unless"):
                    clause = f"{clause} ({labels})" if clause else ""
                    yield Call(name, clause, frozenset(re.findall(r"\w+", labels or "")))
