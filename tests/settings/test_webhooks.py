"""Where events are posted: what is taken, and that nothing of it is ever repeated."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jobmon import anomaly
from jobmon.analysis.checks import Kind
from jobmon.settings import SettingsError, Webhook, load, webhooks


def test_webhooks_are_tables_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "jobmon.toml").write_text(
        """
        webhooks_allow_private = true
        [[webhooks]]
        url = "https://hooks.example/a"
        [[webhooks]]
        url = "http://alertmanager:9093/b?c"
        secret = "sixteen letters."
        types = []
        """
    )
    first, second = load(environ={}, cwd=tmp_path).webhooks
    assert first == Webhook("https://hooks.example/a", None, "low", frozenset())
    assert second.secret == "sixteen letters."
    assert "hooks" not in repr(first).lower().replace("webhook", "")


def test_kinds_and_severities_of_webhooks_are_those_of_the_analysis() -> None:
    assert set(webhooks.TYPES) == set(Kind)
    assert webhooks.SEVERITIES == anomaly.SEVERITIES


WORDS = st.one_of(st.text(max_size=30), st.none(), st.integers(), st.floats(), st.booleans())
TABLES = st.dictionaries(
    st.sampled_from(["url", "secret", "min_severity", "types", "other"]),
    st.one_of(
        *(WORDS, st.lists(WORDS, max_size=3)),
        st.from_regex(r"https?://[\x21-\x7e]{1,20}"),
        st.sampled_from(["https://h/x", "high", ["memory_growth"], "sixteen letters."]),
    ),
)


@given(st.one_of(WORDS, st.lists(st.one_of(WORDS, TABLES), max_size=3)))
@settings(max_examples=500)
def test_any_webhooks_are_taken_or_refused_without_a_word_of_them(value: object) -> None:
    try:
        found = load({"webhooks": value}, environ={}, cwd=Path("/nonexistent")).webhooks
    except SettingsError as error:
        (problem,) = error.problems
        assert "expected a list of at most 20 tables" in problem
        tables = value if isinstance(value, list) else []
        given = [
            one.get(key) for one in tables if isinstance(one, dict) for key in ("url", "secret")
        ]
        assert not any(one in problem for one in given if isinstance(one, str) and len(one) > 12)
    else:
        assert all(one.url.startswith(("http://", "https://")) for one in found)
