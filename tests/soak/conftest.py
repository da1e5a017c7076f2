"""What the long runs tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.page import DOCS, FULL, machine, write_row

Told = Callable[..., None]
"""Tells numbers by name; those of a full run are written into the page."""


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    def tell(**numbers: object) -> None:
        found = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())
        print(f"{request.node.name}: {found}")
        if FULL:
            statement = request.node.name.removeprefix("test_").replace("_", " ")
            write_row(DOCS / "benchmarks" / "soak.md", statement, found, machine())

    return tell
