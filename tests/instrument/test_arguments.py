"""Secrets among arguments are known by their names, also where the call names none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobmon.instrument import redaction
from jobmon.instrument.arguments import shown
from jobmon.settings import Settings, load

HIDDEN = redaction.REDACTED


def login(user: str, password: str, *tokens: str, retries: int = 0) -> None: ...


class Account:
    def change(self, name: str, /, pin_code: int) -> None: ...


def args(
    given: object,
    function: Callable[..., object] | None,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    **kwargs: object,
) -> Any:
    return json.loads(shown(given, kwargs, function, settings))["args"]


def test_a_positional_argument_has_its_parameters_name() -> None:
    assert args(("ann", "hunter2"), login) == ["ann", HIDDEN]
    assert args(["ann", "hunter2"], login) == ["ann", HIDDEN]
    assert args(("ann",), login) == ["ann"]
    assert args((), login) == []


def test_further_arguments_have_the_name_of_what_takes_them() -> None:
    found = args(("ann", "x", "one", "two"), login)
    assert found == ["ann", HIDDEN, HIDDEN]
    assert args(("a", "b"), lambda *names: None) == ["a", "b"]


def test_a_bound_method_does_not_count_its_object() -> None:
    settings = load({"redact.keys": ["pin"]}, environ={})
    assert args(("ann", 1234), Account().change, settings) == ["ann", HIDDEN]


@pytest.mark.parametrize("function", [None, min, object(), type])
def test_without_names_arguments_are_as_they_were(function: Any) -> None:
    assert args(("ann", "x"), function) == ["ann", "x"]


def test_what_is_no_list_of_arguments_is_shown_as_it_is() -> None:
    assert args("odd", login) == "odd"
    assert args(None, login) is None


@pytest.fixture
def rule() -> Iterator[list[tuple[str, Any]]]:
    asked: list[tuple[str, Any]] = []

    def mine(name: str, value: Any) -> object:
        asked.append((name, value))
        return "?" if name == "user" else value

    before = redaction._rules
    redaction.register(mine)
    yield asked
    redaction._rules = before


def test_rules_of_users_get_the_names_too(rule: list[tuple[str, Any]]) -> None:
    assert args(("ann", "hunter2"), login, retries=1) == ["?", HIDDEN]
    assert ("user", "ann") in rule
    assert not [value for name, value in rule if value == "hunter2"]


def test_a_signature_that_raises_hides_nothing_else() -> None:
    class Odd:
        @property
        def __signature__(self) -> object:
            raise RuntimeError("no")

        def __call__(self) -> None: ...

    assert args(("ann",), Odd()) == ["ann"]
