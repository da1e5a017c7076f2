"""The page of the HTTP side names every endpoint, its style and its scope."""

from __future__ import annotations

from pathlib import Path

from jobmon.server.app import create_app
from jobmon.server.dispatch import Dispatch
from jobmon.settings import load

PAGE = Path(__file__).parents[2] / "docs/reference/http.md"


def test_every_endpoint_is_described() -> None:
    settings = load({"prefix": "prefix"}, environ={})
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `/")]
    described = {}
    for row in rows:
        paths, style, scope, _ = (cell.strip() for cell in row.strip("|").split("|"))
        for path in paths.split(", "):
            described[path.strip("`").replace("{prefix}", "prefix")] = (style, scope)
    found = {}
    for route in create_app(settings).routes:
        endpoint = route.app.endpoint  # type: ignore[attr-defined]
        assert isinstance(route.app, Dispatch)  # type: ignore[attr-defined]
        below_prefix = endpoint.path.startswith("/prefix")
        style = endpoint.style.value if below_prefix else "–"
        scopes = (action.permission or "none" for action in endpoint.actions.values())
        found[endpoint.path] = (style, ", ".join(scopes))
    assert found == described
