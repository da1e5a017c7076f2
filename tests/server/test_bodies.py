"""Bodies of requests: an object of declared members, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from starlette.requests import Request

from jobmon.server.endpoints import Endpoint
from jobmon.server.openapi import document
from jobmon.server.query import NAME, Query, parameter
from jobmon.server.responses import Style
from tests.server.application import Application, action, configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish(Query):
    command: str | None = parameter(NAME, "Of this command alone.")


def heard(_request: Request, wish: Wish) -> dict[str, Any]:
    return {"command": wish.command}


TABLE = [Endpoint("/wishes", Style.SUCCESS, {"POST": action(heard, body=Wish)}, tag="Jobs")]


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (b"", None),
        (b"{}", None),
        (b'{"command": null}', None),
        (b'{"command": "data:process"}', "data:process"),
    ],
)
def test_a_body_may_be_missing_or_hold_what_is_declared(body: bytes, command: str | None) -> None:
    answer = _post(body)
    assert answer.status_code == 200
    assert answer.json()["data"] == {"command": command}


@pytest.mark.parametrize(
    ("body", "name", "sentence"),
    [
        (b"[]", "body", "The body must be an object."),
        (b'"x"', "body", "The body must be an object."),
        (b'{"comand": "x"}', "comand", "The comand field is not known."),
        (b'{"command": ""}', "command", "The command field must have a value."),
        (b'{"command": 7}', "command", "The command field must be a string."),
        (b'{"command": "a\\u0000"}', "command", "The command field format is invalid."),
    ],
)
def test_what_is_not_allowed_is_named(body: bytes, name: str, sentence: str) -> None:
    answer = _post(body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == {name: [sentence]}


def test_a_body_is_described() -> None:
    described = document(TABLE, "api", "")["paths"]["/wishes"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert not described["requestBody"]["required"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["command"]["type"] == ["string", "null"]
    assert "422" in described["responses"]


def _post(body: bytes) -> Any:
    headers = {"content-type": "application/json"}
    return Application(configured(), TABLE).request(
        "POST", "/wishes", content=body, headers=headers
    )
