"""The document: nothing is answered that it does not say, and it says all of it."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema_rs
import pytest

from jobmon.server.examples import EXAMPLES
from jobmon.server.openapi import document
from jobmon.server.reference_page import page
from jobmon.server.responses import Style
from tests.described import Description, table

PREFIX = "api"
WHOLE: Any = Description(PREFIX)
OPERATIONS = [
    (path, method, operation)
    for path, methods in WHOLE.document["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
]


def test_it_is_valid_openapi() -> None:
    # Schemathesis has the schema of OpenAPI 3.1 documents.
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    assert list(OPENAPI_31_VALIDATOR.iter_errors(WHOLE.document)) == []


def test_every_operation_is_named_once_and_described() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in WHOLE.document["tags"]}
    for path, method, operation in OPERATIONS:
        assert operation["summary"]
        assert set(operation["tags"]) <= tags, (path, method)
        variables = re.findall(r"\{(\w+)\}", path)
        given = [one["name"] for one in WHOLE.document["paths"][path].get("parameters", [])]
        assert given == variables
        assert operation["security"] or path in ("/livez", "/readyz")


def test_every_endpoint_is_in_it() -> None:
    paths = {endpoint.path for endpoint in table(prefix=PREFIX)}
    assert paths == set(WHOLE.document["paths"])


def test_no_object_has_members_that_are_not_declared_or_may_be_absent() -> None:
    for name, schema in WHOLE.document["components"]["schemas"].items():
        assert schema["additionalProperties"] is False, name
        assert schema["required"] == list(schema["properties"]), name
        assert schema["description"], name


def test_errors_from_before_a_request_is_counted_tell_no_limit() -> None:
    limited = {
        (path, status)
        for path, _, operation in OPERATIONS
        for status, response in operation["responses"].items()
        if "x-ratelimit-limit" in response["headers"]
    }
    assert {status for _, status in limited}.isdisjoint({"400", "401", "408", "413"})
    assert limited >= {("/api/stats", status) for status in ("200", "403", "429", "503")}
    free = ("/livez", "/readyz", "/metrics", "/metrics/self")
    assert {status for path, status in limited if path in free} == {"429"}


def test_errors_are_in_the_style_of_their_endpoint() -> None:
    of_style = {Style.SUCCESS: "SuccessError", Style.STATUS: "StatusError"}
    for endpoint in table(prefix=PREFIX):
        style = Style.STATUS if endpoint.style is Style.BARE else endpoint.style
        for method in endpoint.actions:
            operation = WHOLE.document["paths"][endpoint.path][method.lower()]
            schema = operation["responses"]["500"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": f"#/components/schemas/{of_style[style]}"}


def test_examples_are_as_their_schemas_say() -> None:
    seen = set()
    for _, _, operation in OPERATIONS:
        content = operation["responses"]["200"]["content"].get("application/json", {})
        if "example" in content:
            seen.add(operation["operationId"])
            schema = {**content["schema"], "components": WHOLE.document["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
            assert list(validator.iter_errors(content["example"])) == []
    assert seen == set(EXAMPLES)


def answered(path: str, status: int, body: object, **headers: str) -> httpx.Response:
    request = httpx.Request("GET", f"http://localhost{path}")
    given = {"x-request-id": "1", "content-type": "application/json", **headers}
    return httpx.Response(status, content=json.dumps(body), headers=given, request=request)


def test_what_it_does_not_say_fails_a_test() -> None:
    good = {"status": "success", "data": []}
    counted = {"x-total-count": "0"}
    WHOLE.check(answered("/api/commands/running", 200, good, **counted))
    for bad in (
        answered("/api/commands/running", 200, good),
        answered("/api/commands/running", 200, {**good, "more": 1}, **counted),
        answered("/api/commands/running", 200, {"status": "success"}, **counted),
        answered("/api/commands/running", 200, {**good, "data": [{"id": "x"}]}, **counted),
        answered("/api/commands/running", 201, good, **counted),
        answered("/api/commands/running", 503, {"success": False}),
        answered("/api/commands/running", 200, good, **{**counted, "content-type": "text/html"}),
        answered("/nope", 404, {"detail": "Not Found"}),
    ):
        with pytest.raises(AssertionError):
            WHOLE.check(bad)


def test_paths_are_below_the_address_that_is_given() -> None:
    assert document(table(prefix=PREFIX), PREFIX, "")["servers"] == [{"url": "/"}]
    assert document([], PREFIX, "https://a/b")["servers"] == [{"url": "https://a/b"}]


def test_the_page_shows_everything_and_runs_nothing() -> None:
    shown = page(WHOLE.document)
    for path, method, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in shown
        assert path in shown
        assert method.upper() in shown
    for name in WHOLE.document["components"]["schemas"]:
        assert f'id="object-{name}"' in shown
    anchors = set(re.findall(r'href="#([^"]+)"', shown))
    assert anchors <= set(re.findall(r'id="([^"]+)"', shown))
    assert "<script" not in shown
    evil = json.loads(json.dumps(WHOLE.document).replace("Everything", "<script>`&"))
    assert "<script" not in page(evil)
