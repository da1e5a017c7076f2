"""What runs behind the application begins once and ends once."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette

from jobmon.metrics.process import Activity
from jobmon.server.app import assemble
from jobmon.server.layers import layers
from jobmon.server.life import Life
from tests.server.application import ENDPOINTS, Application, configured
from tests.serving import READ, TOKENS, bearer


def living(said: list[str]) -> tuple[Application, Starlette]:
    settings = configured(auth__tokens=TOKENS)
    app = Application(settings)
    life = Life(lambda: said.append("begin"), lambda: said.append("end"))
    app.app = assemble(ENDPOINTS, settings, layers(settings, None), Activity(), life)
    return app, app.app


def test_it_begins_with_the_first_request_that_is_let_in() -> None:
    said: list[str] = []
    app, _ = living(said)
    assert app.request("GET", "/things/1").status_code == 401
    assert app.request("GET", "/things/1", headers={"Host": "evil.example"}).status_code == 400
    assert said == []
    for _ in range(3):
        assert app.request("GET", "/things/1", headers=bearer(READ)).status_code == 200
    assert said == ["begin"]


def test_a_lifespan_begins_and_ends_it() -> None:
    said: list[str] = []
    app, starlette = living(said)

    async def live() -> None:
        async with starlette.router.lifespan_context(starlette):
            assert said == ["begin"]

    asyncio.run(live())
    app.request("GET", "/things/1", headers=bearer(READ))
    assert said == ["begin", "end"]
