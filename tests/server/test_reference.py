"""The page of the HTTP side names every endpoint, its style and its scope."""

from __future__ import annotations

from pathlib import Path

from jobmon.server.endpoints import Text
from tests.described import table

PAGE = Path(__file__).parents[2] / "docs/reference/http.md"


def test_every_endpoint_is_described() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `/")]
    described = {}
    for row in rows:
        paths, style, scope, _ = (cell.strip() for cell in row.strip("|").split("|"))
        for path in paths.split(", "):
            described[path.strip("`").replace("{prefix}", "prefix")] = (style, scope)
    found = {}
    for endpoint in table(prefix="prefix"):
        actions = endpoint.actions.values()
        is_text = any(one.answer is None or isinstance(one.answer, Text) for one in actions)
        style = "–" if is_text else endpoint.style.value
        scopes = (action.permission or "none" for action in actions)
        found[endpoint.path] = (style, ", ".join(scopes))
    assert found == described
