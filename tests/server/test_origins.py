"""Pages of other origins: those that are listed may read, and ask first as browsers do."""

from __future__ import annotations

import pytest

from tests.server.application import Application, configured
from tests.serving import READ, TOKENS, bearer

OPS = "https://ops.example"
ASKED = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def app() -> Application:
    return Application(configured(auth__tokens=TOKENS, cors__origins=OPS))


def test_a_listed_page_may_ask_and_then_read(app: Application) -> None:
    asked = app.request("OPTIONS", "/things/1", headers={"Origin": OPS, **ASKED})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == OPS
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    assert asked.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
    read = app.request("GET", "/things/1", headers={"Origin": OPS, **bearer(READ)})
    assert read.status_code == 200
    assert read.headers["access-control-allow-origin"] == OPS
    assert "X-RateLimit-Remaining" in read.headers["access-control-expose-headers"]
    for answer in (asked, read):
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
    refused = app.request("GET", "/things/1", headers={"Origin": OPS})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, OPS)


@pytest.mark.parametrize("origin", ["https://evil.example", f"{OPS}:444", "null", OPS.upper()])
def test_another_page_may_not(app: Application, origin: str) -> None:
    asked = app.request("OPTIONS", "/things/1", headers={"Origin": origin, **ASKED})
    assert asked.status_code == 401
    read = app.request("GET", "/things/1", headers={"Origin": origin, **bearer(READ)})
    for answer in (asked, read):
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


def test_options_are_no_method_unless_a_listed_page_asks(app: Application) -> None:
    answer = app.request("OPTIONS", "/things/1", headers={"Origin": OPS, **bearer(READ)})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    without = Application(configured(auth__tokens=TOKENS))
    headers = {"Origin": OPS, **ASKED, **bearer(READ)}
    answer = without.request("OPTIONS", "/things/1", headers=headers)
    assert answer.status_code == 405
    assert not {name for name in answer.headers if name.startswith("access-control")}
    assert "vary" not in answer.headers
