"""The clients and the document of a live server say the same."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import httpx
import pytest
from pydantic import TypeAdapter

from jobmon.client import AsyncClient, Client, Listing, NotFound, async_client, client, operations
from jobmon.client.operations import Operation
from jobmon.client.shapes import Data, Entries, Fine, Sentence, Text, Whole
from tests.client.asking import Asking
from tests.serving import OPERATE, PREFIX, Recorded, Served, bearer

pytestmark = pytest.mark.live

OPERATIONS: dict[str, Operation[Any]] = {
    name.lower(): one for name, one in vars(operations).items() if isinstance(one, Operation)
}


@pytest.fixture(scope="module")
def document(known: Served) -> Any:
    return known.get("openapi.json", headers=bearer(OPERATE)).json()


def place(operation: Operation[Any]) -> tuple[str, str]:
    """Path and method as the document names them."""
    camel = re.sub(r"_(\w)", lambda found: found[1].upper(), operation.path)
    return camel if camel.startswith("/") else f"{PREFIX}/{camel}", operation.method.lower()


def methods(kind: type) -> dict[str, Any]:
    """What a client can be asked, by name."""
    others = {"close", "aclose"}
    public = inspect.getmembers(kind, inspect.isfunction)
    return {n: one for n, one in public if not n.startswith(("_", "iter_")) and n not in others}


def iterators(kind: type) -> dict[str, Any]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: one for name, one in found if name.startswith("iter_")}


def test_every_operation_has_a_method_and_every_method_an_operation(document: Any) -> None:
    described = {
        (path, method)
        for path, its in document["paths"].items()
        for method in its
        if method != "parameters"
    }
    assert {place(one) for one in OPERATIONS.values()} == described
    assert set(methods(Client)) == set(methods(AsyncClient)) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_method_has_exactly_the_parameters_of_its_operation(document: Any, name: str) -> None:
    path, method = place(OPERATIONS[name])
    its = document["paths"][path]
    hints = get_type_hints(getattr(Client, name))
    found = list(inspect.signature(getattr(Client, name)).parameters.values())[1:]
    described = its.get("parameters", []) + its[method].get("parameters", [])
    described += members(its[method])
    assert [one.name for one in found] == [snake(one["name"]) for one in described]
    for mine, theirs in zip(found, described, strict=True):
        is_required = mine.default is inspect.Parameter.empty
        assert is_required == theirs["required"]
        assert is_required or mine.default == theirs["schema"].get("default")
        kinds = {expected(theirs["schema"])}
        kinds |= {NoneType} if mine.default is None else set[type]()
        kinds |= {int} if mine.name == "id" else set[type]()  # a number, or an engine's id
        assert alternatives(hints[mine.name]) == kinds


def members(operation: Any) -> list[Any]:
    """Those of a body, described as parameters are."""
    body = operation.get("requestBody", {"content": {"application/json": {"schema": {}}}})
    schema = body["content"]["application/json"]["schema"]
    return [
        {"name": name, "required": name in schema["required"], "schema": one}
        for name, one in schema.get("properties", {}).items()
    ]


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def alternatives(hint: Any) -> set[Any]:
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}


def expected(schema: Any) -> Any:
    """The Python type of a parameter."""
    if "anyOf" in schema:  # whatever is no number is one too, but nobody means it
        schema = schema["anyOf"][0]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    kind = schema["type"]
    return {"integer": int, "string": str}[kind if isinstance(kind, str) else kind[0]]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_method_returns_what_its_operation_answers(document: Any, name: str) -> None:
    operation = OPERATIONS[name]
    path, method = place(operation)
    hint = get_type_hints(getattr(Client, name))["return"]
    answer = document["paths"][path][method]["responses"]["200"]
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    match operation.shape:
        case Text(media_type=media_type):
            assert hint is str
            assert list(answer["content"]) == [media_type]
            return
        case Fine():
            assert hint is bool
            assert list(schema["properties"]) == ["success"]
            return
        case Sentence():
            assert hint is str
            assert schema["properties"]["message"]["type"] == "string"
            return
        case Entries(answer=entry):
            assert hint == Listing[entry]
            assert "x-total-count" in answer["headers"]
            read, schema = list[entry], schema["properties"]["data"]
        case Data(answer=read):
            assert hint == read
            schema = schema["properties"]["data"]
        case Whole(answer=read):
            assert hint == read
        case _:
            raise AssertionError(operation.shape)
    mine = TypeAdapter(read).json_schema(mode="serialization", by_alias=True)
    assert resolved(mine, mine) == resolved(schema, document)


def resolved(schema: Any, within: Any) -> Any:
    """A schema without references, texts, and what an object without members leaves open."""
    if isinstance(schema, list):
        return [resolved(one, within) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found = within
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(found, within)
    texts = ("title", "description", "example", "examples", "$defs")
    return {
        name: {each: resolved(one, within) for each, one in value.items()}
        if name == "properties"
        else resolved(value, within)
        for name, value in schema.items()
        if name not in texts and not (name == "additionalProperties" and value is True)
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_method_sends_each_of_its_parameters(
    document: Any, ask: Asking, recorded: Recorded, name: str
) -> None:
    parameters = list(inspect.signature(getattr(Client, name)).parameters)[1:]
    values = {parameter: VALUES[parameter] for parameter in parameters}
    with suppress(NotFound):
        ask(name, **values)
    path, method = place(OPERATIONS[name])
    (request,) = ask.sent
    in_path = re.findall(r"\{(\w+)\}", OPERATIONS[name].path)
    for one in in_path:
        path = re.sub(r"\{\w+\}", VALUES[one], path, count=1)
    assert (request.method.lower(), request.url.path) == (method, path)
    sent = {name: str(value) for name, value in values.items() if name not in in_path}
    if OPERATIONS[name].has_body:
        assert (json.loads(request.content), dict(request.url.params)) == (sent, {})
    else:
        assert dict(request.url.params) == sent


VALUES: dict[str, Any] = {
    "command": "data:ünique & more",
    "cursor": "a/b+c=",
    "days": 11,
    "exporter": "celery-exporter",
    "id": "12345678",
    "job_id": "an.engine:s-id",
    "page": 3,
    "per_page": 7,
    "process_id": "71c4a1c6-0000-4000-8000-0123456789ab",
    "severity": "high",
    "state": "open",
    "status": "failed",
}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_iterator_takes_what_its_list_takes_but_the_place_in_it(kind: type) -> None:
    lists = {f"iter_{name}" for name, one in methods(kind).items() if pages(one)}
    assert set(iterators(kind)) == lists
    for name, iterator in iterators(kind).items():
        mine = dict(inspect.signature(iterator).parameters)
        theirs = dict(inspect.signature(getattr(kind, name.removeprefix("iter_"))).parameters)
        theirs.pop("page" if "page" in theirs else "cursor")
        assert list(mine) == list(theirs)
        hints = get_type_hints(iterator)
        assert get_origin(hints["return"]) is (Iterator if kind is Client else AsyncIterator)
        if "per_page" in mine:
            assert mine.pop("per_page").default == 100
            theirs.pop("per_page")
        assert mine == theirs


def pages(method: Any) -> bool:
    return bool({"page", "cursor"} & set(inspect.signature(method).parameters))


class Waiting(ast.NodeTransformer):
    """Makes of a client for coroutines one that waits."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.generic_visit(ast.FunctionDef(**vars(node)))

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_For(self, node: ast.For) -> ast.AST:
        match node:
            case ast.For(target=ast.Name("one"), body=[ast.Expr(ast.Yield(ast.Name("one")))]):
                return ast.Expr(ast.YieldFrom(node.iter))
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Awaitable":
            return self.visit(node.slice)
        return self.generic_visit(node)


WORDS = {
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "anyio": "time",
    "Tasks of one event loop": "Threads",
}


def test_both_clients_are_the_same_but_for_waiting() -> None:
    def body(text: str) -> str:
        tree = ast.parse(text)
        tree.body = [
            one for one in tree.body[1:] if not isinstance(one, ast.Import | ast.ImportFrom)
        ]
        return ast.unparse(ast.fix_missing_locations(Waiting().visit(tree)))

    text = Path(async_client.__file__).read_text()
    for word, other in WORDS.items():
        text = text.replace(word, other)
    assert body(text) == body(Path(client.__file__).read_text())


def test_whatever_is_an_address_of_its_own_is_no_step_elsewhere(
    ask: Asking, recorded: Recorded
) -> None:
    for odd in ("..", "../workers", "a/b", "?x=1", "%2e%2e", "#", "ü"):
        with pytest.raises(NotFound):
            ask("job", odd)
        (request,) = ask.sent
        assert httpx.URL(request.url).raw_path.startswith(b"/api/job-monitor/jobs/"), odd
