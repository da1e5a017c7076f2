"""No request waits for its handler without end, and handlers that hang take no more threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.requests import Request

from jobmon.server import threads
from jobmon.server.endpoints import Endpoint
from jobmon.server.responses import Style
from tests.server.application import Application, action, configured


@pytest.mark.parametrize("style", Style)
def test_a_handler_that_takes_too_long_is_given_up_and_goes_on(
    style: Style, caplog: pytest.LogCaptureFixture
) -> None:
    going_on, ended = threading.Event(), threading.Event()

    def slow(_request: Request) -> None:
        going_on.wait(20)
        ended.set()

    async def slow_too(_request: Request) -> None:
        await asyncio.sleep(20)

    endpoints = [
        Endpoint(
            "/slow",
            style,
            {"GET": action(slow, answer=None, longest_seconds=0.1)},
            failure="Failed to retrieve thing",
        ),
        Endpoint("/slow-too", style, {"GET": action(slow_too, answer=None, longest_seconds=0.1)}),
    ]
    app = Application(configured(), endpoints)
    for path in ("/slow", "/slow-too"):
        answer = app.request("GET", path)
        assert answer.status_code == 503
        assert answer.json()["message"] == "Service unavailable."
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["x-request-id"] in caplog.text
    assert not ended.is_set()
    going_on.set()
    assert ended.wait(20)


def test_what_hangs_is_bounded() -> None:
    going_on = threading.Event()
    begun: list[int] = []

    def hang() -> None:
        begun.append(1)
        going_on.wait(20)

    async def many() -> list[object]:
        asked = (threads.in_thread(hang, 0.2) for _ in range(2 * threads.MOST))
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        found = asyncio.run(many())
    finally:
        going_on.set()
    assert all(isinstance(one, TimeoutError) for one in found)
    assert len(begun) == threads.MOST
    assert asyncio.run(threads.in_thread(lambda: 7, 20)) == 7
