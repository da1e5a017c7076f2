"""Members of what anybody may have written."""

from __future__ import annotations

import math

import pytest

from jobmon.store import members


@pytest.mark.parametrize("raw", [None, b"", "", b"null", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_has_no_members(raw: bytes | str | None) -> None:
    assert members.decoded(raw) is None
    assert members.decoded(b'{"a":1}') == members.decoded('{"a":1}') == {"a": 1}


def test_text_is_that_or_empty() -> None:
    assert [members.text(one) for one in ("a", b"a\xff", 7, None)] == ["a", "a\ufffd", "", ""]


@pytest.mark.parametrize("value", [True, None, "7", math.nan, math.inf, 10**400, [1]])
def test_what_is_no_number_or_has_no_end_is_none(value: object) -> None:
    assert members.finite(value) is None
    assert members.unix_time(value) is None


def test_moments_lie_between_1970_and_a_far_year() -> None:
    assert [members.finite(one) for one in (-1, 0, 1e12)] == [-1.0, 0.0, 1e12]
    assert [members.unix_time(one) for one in (-1, 0, 1.5, 1e12)] == [None, None, 1.5, None]
