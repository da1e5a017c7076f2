"""PromQL as the dashboards use it: parsed, so that tests can ask what an expression names.

Stricter than Prometheus: labels that an operation names have to be there. That the expressions are
valid at all, a real Prometheus judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<range>\[[^\]]*\])
      | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
      | (?P<sign>==|!=|=~|!~|<=|>=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
AGGREGATIONS = {"sum", "max", "min", "count", "avg", "topk"}
RANGED = {"rate", "increase", "changes", "resets", "deriv"}
FUNCTIONS = {*RANGED, "histogram_quantile", "label_replace", "time", "vector", "round", "clamp_max"}
LEVELS = (("or",), ("and", "unless"), ("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("*", "/"))
"""Operators, the loosest first."""


@dataclass
class Node:
    """A part of an expression."""

    kind: str
    """``selector``, ``aggregation``, ``function``, ``operation`` or ``value``."""
    name: str = ""
    """The metric's, the function's or the operator's; of a value its text."""
    parts: list[Node] = field(default_factory=list)
    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    range: str = ""
    grouping: str = ""
    """``by``, ``without``, ``on`` or ``ignoring``."""
    labels: tuple[str, ...] = ()

    def walk(self) -> Iterator[tuple[Node, tuple[Node, ...]]]:
        """Each part, with those around it, the nearest first."""

        def deeper(node: Node, around: tuple[Node, ...]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
            yield node, around
            for part in node.parts:
                yield from deeper(part, (node, *around))

        return deeper(self, ())

    def selectors(self) -> list[Node]:
        """All series that it asks for."""
        return [node for node, _ in self.walk() if node.kind == "selector"]


class Parser:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = TOKEN.match(text, at)
            assert found, f"cannot read {text[at:]!r} of {text!r}"
            assert found.lastgroup
            self.tokens.append((found.lastgroup, found.group(found.lastgroup)))
            at = found.end()
        self.at = 0

    def parse(self) -> Node:
        node = self.operation(0)
        assert self.at == len(self.tokens), f"{self.text!r} goes on with {self.tokens[self.at]}"
        return node

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        assert self.at < len(self.tokens), f"{self.text!r} ends too early"
        token = self.peek()
        assert not expected or token in expected, f"{token!r} in {self.text!r}, not {expected}"
        self.at += 1
        return token

    def operation(self, level: int) -> Node:
        if level == len(LEVELS):
            return self.atom()
        node = self.operation(level + 1)
        while self.peek() in LEVELS[level]:
            made = Node("operation", self.take(), [node])
            if self.peek() == "bool":
                self.take()
            if self.peek() in ("on", "ignoring"):
                made.grouping, made.labels = self.take(), self.names()
            made.parts.append(self.operation(level + 1))
            node = made
        return node

    def atom(self) -> Node:
        kind, token = self.tokens[self.at]
        if token == "(":
            self.take()
            node = self.operation(0)
            self.take(")")
            return node
        self.take()
        if kind in ("number", "string"):
            return Node("value", token)
        assert kind == "word", f"{token!r} in {self.text!r}"
        if token in AGGREGATIONS:
            node = Node("aggregation", token)
            if self.peek() in ("by", "without"):
                node.grouping, node.labels = self.take(), self.names()
            node.parts = self.arguments()
            return node
        if self.peek() == "(":
            assert token in FUNCTIONS, f"is there a function {token}?"
            return Node("function", token, self.arguments())
        return self.selector(token)

    def selector(self, name: str) -> Node:
        node = Node("selector", name)
        if self.peek() == "{":
            self.take()
            while self.peek() != "}":
                label, sign, value = self.take(), self.take("=", "!=", "=~", "!~"), self.take()
                node.matchers.append((label, sign, value[1:-1]))
                if self.take(",", "}") == "}":
                    return node
            self.take("}")
        return node

    def arguments(self) -> list[Node]:
        self.take("(")
        found: list[Node] = []
        while self.peek() != ")":
            found.append(self.operation(0))
            if found[-1].kind == "selector" and self.peek().startswith("["):
                found[-1].range = self.take()[1:-1]
            if self.peek() == ",":
                self.take()
        self.take(")")
        return found

    def names(self) -> tuple[str, ...]:
        self.take("(")
        found: list[str] = []
        while self.peek() != ")":
            found.append(self.take())
            if self.peek() == ",":
                self.take()
        self.take(")")
        return tuple(found)


def parse(text: str) -> Node:
    """What an expression consists of."""
    return Parser(text).parse()


def labels_of(node: Node, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels that its series have; fails where it names one that is not there.

    Args:
        known: Labels of each series, by its name.
    """
    if node.kind == "value":
        return frozenset()
    if node.kind == "selector":
        assert node.name in known, f"there is no {node.name}"
        strange = {label for label, _, _ in node.matchers} - known[node.name]
        assert not strange, f"{node.name} has no {strange}"
        return known[node.name]
    inner = [labels_of(part, known) for part in node.parts]
    if node.kind == "aggregation":
        below = inner[-1]
        if node.grouping == "without":
            return below - set(node.labels)
        assert set(node.labels) <= below, f"{node.labels} are not all in {sorted(below)}"
        return below if node.name == "topk" else frozenset(node.labels)
    if node.kind == "function":
        if node.name == "histogram_quantile":
            assert "le" in inner[1]
            return inner[1] - {"le"}
        if node.name == "label_replace":
            return inner[0] | {node.parts[1].name[1:-1]}
        return inner[0] if inner else frozenset()
    left, right = inner
    if node.grouping == "on":
        assert set(node.labels) <= left & right, f"{node.labels} are not on both sides"
    elif left and right and node.name != "or":
        assert left == right, f"{sorted(left)} {node.name} {sorted(right)} never match"
    if node.name in ("and", "unless"):
        return left
    return left | right if node.name == "or" or not left else left
