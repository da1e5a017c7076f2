"""From what handlers give to what is answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import redis
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from jobmon.errors import Unavailable
from jobmon.server.command_metrics import CommandMetricsQuery
from jobmon.server.endpoints import Endpoint, Message, Reply
from jobmon.server.responses import Style
from tests.server.application import Application, action, configured


def answers(
    handler: Callable[..., object], style: Style = Style.STATUS, path: str = "/x", **more: Any
) -> Application:
    failure = "Failed to do it" if style is Style.SUCCESS else ""
    endpoint = Endpoint(path, style, {"GET": action(handler, **more)}, failure=failure)
    return Application(configured(), [endpoint])


@pytest.mark.parametrize(
    ("style", "body"),
    [
        (Style.SUCCESS, {"success": True, "data": {"a": 1}}),
        (Style.STATUS, {"status": "success", "data": {"a": 1}}),
        (Style.BARE, {"a": 1}),
    ],
)
def test_what_a_handler_gives_is_put_into_the_envelope(style: Style, body: Any) -> None:
    assert answers(lambda _: {"a": 1}, style).request("GET", "/x").json() == body


def test_a_coroutine_is_answered_too() -> None:
    async def handler(_request: Request) -> dict[str, Any]:
        return {"a": 1}

    assert answers(handler, Style.BARE).request("GET", "/x").json() == {"a": 1}


def test_a_reply_has_headers_and_a_status() -> None:
    reply = Reply({}, {"x-total-count": "7"}, HTTPStatus.SERVICE_UNAVAILABLE)
    answer = answers(lambda _: reply, Style.SUCCESS).request("GET", "/x")
    assert (answer.status_code, answer.headers["x-total-count"]) == (503, "7")
    assert answer.json() == {"success": False, "data": {}}


def test_a_sentence_stands_in_place_of_data() -> None:
    said = answers(lambda _: Message('a "b" \ud800'), answer=Message).request("GET", "/x")
    assert said.json() == {"status": "success", "message": 'a "b" ?'}


def test_a_response_of_its_own_goes_through() -> None:
    app = answers(lambda _: PlainTextResponse("plain"))
    assert app.request("GET", "/x").text == "plain"


def test_nothing_found_is_404_with_the_path_as_it_was_given() -> None:
    sentence = "Could not retry job [{id}]."
    app = answers(lambda _: None, path="/x/{id}", not_found=sentence)
    for given, shown in (("12", "12"), ("a:B", "a:B"), ("%7Bid%7D", "{id}"), ("a%20b", "a b")):
        answer = app.request("GET", f"/x/{given}")
        assert answer.status_code == 404
        assert answer.json()["message"] == f"Could not retry job [{shown}]."
    assert answers(lambda _: None).request("GET", "/x").json()["message"] == "Not found."


def test_parameters_are_judged_before_the_handler_is_called() -> None:
    def handler(_request: Request, query: CommandMetricsQuery) -> dict[str, Any]:
        return {"command": query.command, "days": query.days}

    app = answers(handler, Style.SUCCESS, query=CommandMetricsQuery)
    assert app.request("GET", "/x?command=a&days=3").json()["data"] == {"command": "a", "days": 3}
    refused = app.request("GET", "/x?days=x")
    assert refused.status_code == 422
    assert set(refused.json()["errors"]) == {"command", "days"}


@pytest.mark.parametrize("trouble", [redis.ConnectionError("host.internal"), Unavailable("/path")])
def test_what_is_away_is_told_in_the_style_of_the_endpoint(trouble: Exception) -> None:
    def handler(_request: Request) -> object:
        raise trouble

    for style in (Style.STATUS, Style.BARE):
        answer = answers(handler, style).request("GET", "/x")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {"status": "error", "message": "Service unavailable."}
    answer = answers(handler, Style.SUCCESS).request("GET", "/x")
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "message": "Failed to do it",
        "error": "Internal server error",
    }


def test_of_requests_for_the_same_that_wait_at_once_one_reading_serves_all() -> None:
    going_on, begun = threading.Event(), threading.Semaphore(0)
    calls: list[str] = []

    def slow(request: Request) -> dict[str, Any]:
        calls.append(f"{request.method} {request.url.query}")
        begun.release()
        going_on.wait(20)
        return {}

    endpoint = Endpoint("/slow", Style.SUCCESS, {"GET": action(slow), "POST": action(slow)})
    app = Application(configured(), [endpoint])
    found = asyncio.run(_asked(app.app, begun, going_on))
    assert [one.status_code for one in found] == [200] * 10
    assert sorted(calls) == ["GET ", "GET ", "GET page=2", "POST ", "POST "]


async def _asked(app: Any, begun: threading.Semaphore, going_on: threading.Event) -> list[Any]:
    """Answers to a request, to six for the same, to another, and to two that change something."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as http:
        first = asyncio.create_task(http.get("/slow"))
        await asyncio.to_thread(begun.acquire)
        paths = ["/slow"] * 6
        others = [asyncio.create_task(http.get(path)) for path in (*paths, "/slow?page=2")]
        others += [asyncio.create_task(http.post("/slow")) for _ in range(2)]
        for _ in range(3):
            await asyncio.to_thread(begun.acquire)
        going_on.set()
        return [*await asyncio.gather(first, *others)]
