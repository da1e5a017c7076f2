"""The pages made from code say what the code says."""

from __future__ import annotations

import pytest

from docs import build


@pytest.mark.parametrize("name", build.PAGES)
def test_a_made_page_is_current(name: str) -> None:
    assert (build.ROOT / name).read_text(encoding="utf-8") == build.PAGES[name](), "run make docs"
