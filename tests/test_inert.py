"""Text of others cannot act on a screen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.inert import inert


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("data:process", "data:process"),
        ("Zoë 日本 🎉", "Zoë 日本 🎉"),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("a\u2028b\u202ec\ufeff", "a\\u2028b\\u202ec\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        (7, "7"),
    ],
)
def test_what_acts_is_escaped_and_the_rest_is_not(text: object, shown: str) -> None:
    assert inert(text) == shown


def test_it_is_never_longer_than_asked() -> None:
    assert inert("x" * 300) == "x" * 255 + "…"
    assert inert("x" * 256) == "x" * 256
    assert inert("\x00" * 256, 10) == "\\x00\\x00\\…"


@given(st.text(st.characters(), max_size=400))
def test_no_control_or_format_character_is_left(text: str) -> None:
    shown = inert(text)
    assert len(shown) <= 256
    bad = {"Cc", "Cs", "Zl", "Zp"}
    assert not [c for c in shown if unicodedata.category(c) in bad]
    assert not set(shown) & set("\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\u061c")
