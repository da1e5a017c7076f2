"""What leaves the server is always JSON that any parser takes."""

from __future__ import annotations

import json
import math

import pytest

from jobmon.server.responses import Style, date_time, ok, timestamp


def body(data: object) -> bytes:
    return bytes(ok(Style.STATUS, data).body)


def test_text_is_neither_escaped_nor_spaced() -> None:
    assert (
        body({"a/b": ["é", "日本"]}) == '{"status":"success","data":{"a/b":["é","日本"]}}'.encode()
    )


def test_no_nan_and_no_infinity_leave() -> None:
    data = {"a": math.nan, "b": [math.inf, -math.inf, 1.5], "c": ({"d": math.nan},)}
    assert json.loads(body(data))["data"] == {"a": 0, "b": [0, 0, 1.5], "c": [{"d": 0}]}


def test_a_lone_surrogate_does_not_break_an_answer() -> None:
    assert json.loads(body(["a\ud800b"]))["data"] == ["a?b"]


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
