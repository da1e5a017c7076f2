"""What leaves the server is always JSON that any parser takes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import TypeAdapter

from jobmon.answers.values import Exact, JsonObject, Number
from jobmon.server.responses import Style, date_time, encoded, enveloped, invalid, timestamp


def body(data: object, kind: Any = JsonObject) -> bytes:
    return enveloped(Style.STATUS, encoded(data, TypeAdapter(kind)))


def test_text_is_neither_escaped_nor_spaced() -> None:
    assert (
        body({"a/b": ["é", "日本"]}) == '{"status":"success","data":{"a/b":["é","日本"]}}'.encode()
    )


def test_no_nan_and_no_infinity_leave() -> None:
    data = {"a": math.nan, "b": [math.inf, -math.inf, 1.5], "c": ({"d": math.nan},)}
    assert json.loads(body(data))["data"] == {"a": 0, "b": [0, 0, 1.5], "c": [{"d": 0}]}
    assert json.loads(body([math.nan, math.inf], list[Number]))["data"] == [0, 0]


def test_a_lone_surrogate_does_not_break_an_answer() -> None:
    assert json.loads(body({"a": "a\ud800b"}))["data"] == {"a": "a?b"}
    assert json.loads(body(["a\ud800b", "é"], list[str]))["data"] == ["a?b", "é"]


def test_what_users_nest_without_end_is_cut() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert b"[truncated]" in body(deep)


def test_numbers_are_rounded_where_they_are_written() -> None:
    assert body([1.005, 0.1 + 0.2], list[Number]).endswith(b"[1.0,0.3]}")
    assert body([0.00041234], list[Exact]).endswith(b"[0.0004]}")


def test_envelopes() -> None:
    assert enveloped(Style.SUCCESS, b"[]") == b'{"success":true,"data":[]}'
    assert enveloped(Style.SUCCESS, b"[]", succeeded=False) == b'{"success":false,"data":[]}'
    assert enveloped(Style.SUCCESS, None) == b'{"success":true}'
    assert enveloped(Style.BARE, b"[]") == b"[]"


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ({"a": ["One."]}, "One."),
        ({"a": ["One."], "b": ["Two."]}, "One. (and 1 more error)"),
        ({"a": ["One.", "Two."], "b": ["Three."]}, "One. (and 2 more errors)"),
    ],
)
def test_what_is_not_allowed_is_counted(sentences: dict[str, list[str]], message: str) -> None:
    answer = invalid(Style.SUCCESS, sentences)
    assert answer.status_code == 422
    assert json.loads(bytes(answer.body)) == {
        "success": False,
        "message": message,
        "error": "Unprocessable Entity",
        "errors": sentences,
    }
    bare = json.loads(bytes(invalid(Style.BARE, sentences).body))
    assert bare == {"status": "error", "message": message, "errors": sentences}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "1970-01-01 00:00:00"),
        (1754222400.999, "2025-08-03 12:00:00"),
        (-0.5, "1969-12-31 23:59:59"),
        (1e300, None),
        (-1e300, None),
        (None, None),
    ],
)
def test_times_are_cut_to_seconds_and_utc(seconds: float | None, shown: str | None) -> None:
    assert date_time(seconds) == shown


def test_the_other_form_of_times() -> None:
    assert timestamp(1754222400.999) == "2025-08-03T12:00:00Z"
