"""The layers before an endpoint: hosts, proxies, bodies, ids, headers, and one's own."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.server import sizes
from jobmon.server.app import create_app
from jobmon.server.endpoints import Endpoint
from jobmon.server.hosts import allowed_hosts, host_name
from jobmon.server.probes import alive
from jobmon.server.responses import Style
from jobmon.settings import SettingsError
from tests.server.application import ENDPOINTS, Application, action, configured


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:80", "localhost"),
        ("[::1]", "::1"),
        ("[::1]:8765", "::1"),
        ("127.0.0.1:8765", "127.0.0.1"),
        ("::1", ""),
        ("a b", ""),
        ("a@b", ""),
        ("a:b", ""),
        ("a:123456", ""),
        ("", ""),
        ("localhost:80\n", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_allowed_hosts_are_this_machine_and_what_the_settings_name() -> None:
    own = {"localhost", socket.gethostname().lower()}
    assert allowed_hosts(configured(listen="unix:/tmp/a")) == own
    settings = configured(
        listen="C.example:1", allowed_hosts="A.example", public_url="https://b.example:444/x"
    )
    assert allowed_hosts(settings) == own | {"a.example", "b.example", "c.example"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("10.1.2.3", 200),
        ("10.1.2.3:8765", 200),
        ("[fd00::7]", 200),
        ("[FD00::7]:8765", 200),
        (socket.gethostname(), 200),
        (f"{socket.gethostname()}:8765", 200),
        ("any.example", 400),
        ("10.1.2.3.any.example", 400),
        ("10.1.2", 400),
        ("0x7f000001", 400),
        ("fd00::7", 400),
        ("[fd00::g]", 400),
        ("10.1.2.3@any.example", 400),
    ],
)
def test_every_address_is_answered_and_no_foreign_name(host: str, status: int) -> None:
    answer = Application(configured()).request("GET", "/things/1", headers={"host": host})
    assert answer.status_code == status


def test_probes_answer_under_any_host() -> None:
    probe = Endpoint("/livez", Style.SUCCESS, {"GET": action(alive, answer=None)})
    app = Application(configured(), [*ENDPOINTS, probe])
    foreign = {"host": "any.example:8765"}
    assert app.request("GET", "/livez", headers=foreign).status_code == 200
    assert app.request("GET", "/probe", headers=foreign).status_code == 400


@pytest.mark.parametrize("path", ["/things/%", "/things/%zz", "/things/%ff", "/%c3%28"])
def test_a_path_that_cannot_be_decoded_is_a_bad_request(path: str) -> None:
    # httpx would mend the path, so the scope is written by hand.
    sent: list[dict[str, object]] = []

    async def call() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/things/x",
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "server": ("127.0.0.1", 8765),
        }

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await Application(configured()).app(scope, receive, send)

    asyncio.run(call())
    assert sent[0]["status"] == 400
    assert sent[1]["body"] == b'{"status":"error","message":"Bad request."}'


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 198.51.100.7, 10.1.1.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "jobs.example",
}


def test_a_trusted_proxy_is_believed() -> None:
    app = Application(configured(trusted_proxies="10.0.0.0/8", allowed_hosts="jobs.example"))
    seen = app.request("GET", "/things/1", client="10.2.2.2", headers=FORWARDED).json()["data"]
    # The client's own claim, left of what our proxies saw, is worth nothing.
    assert seen == {"client": "198.51.100.7", "scheme": "https", "host": "jobs.example"}


def test_anybody_else_is_not() -> None:
    app = Application(configured(trusted_proxies="10.0.0.0/8", allowed_hosts="jobs.example"))
    seen = app.request("GET", "/things/1", client="192.0.2.1", headers=FORWARDED).json()["data"]
    assert seen == {"client": "192.0.2.1", "scheme": "http", "host": "127.0.0.1:8765"}


def test_the_host_that_a_proxy_names_must_be_allowed_too() -> None:
    app = Application(configured(trusted_proxies="10.0.0.0/8"))
    refused = app.request("GET", "/things/1", client="10.2.2.2", headers=FORWARDED)
    assert refused.status_code == 400


def test_nonsense_from_a_proxy_changes_nothing() -> None:
    app = Application(configured(trusted_proxies="10.0.0.0/8"))
    headers = {"X-Forwarded-For": "unknown, evil\x1b", "X-Forwarded-Proto": "gopher"}
    seen = app.request("GET", "/things/1", client="10.2.2.2", headers=headers).json()["data"]
    assert (seen["client"], seen["scheme"]) == ("10.2.2.2", "http")


def test_a_body_reaches_the_endpoint_whole() -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    post = Endpoint("/echo", Style.SUCCESS, {"POST": action(echo)})
    app = Application(configured(), [post])
    sent = b'"' + b"x" * (sizes.MOST_BYTES - 2) + b'"'
    json = {"Content-Type": "application/json"}
    assert app.request("POST", "/echo", content=sent, headers=json).content == sent
    assert app.request("POST", "/echo", content=sent + b" ", headers=json).status_code == 413


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "text/plain", 200),
        (b"{}", "application/json", 200),
        (b"{}", "Application/JSON; charset=utf-8", 200),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
    ],
)
def test_a_body_is_json_or_refused(content: bytes, kind: str, status: int) -> None:
    headers = {"Content-Type": kind} if kind else {}
    app = Application(configured())
    answer = app.request("POST", "/things/1", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["status"] == ("success" if status == 200 else "error")
    assert app.request("GET", "/things/1", content=content, headers=headers).status_code == 200


def test_a_declared_length_beyond_the_limit_is_refused_unread() -> None:
    for length in ("65537", "9" * 5000):
        headers = {"Content-Length": length}
        answer = Application(configured()).request("POST", "/things/1", headers=headers)
        assert answer.status_code == 413


def test_headers_beyond_the_limit_are_refused_however_they_come() -> None:
    app = Application(configured())
    for path, headers in (
        ("/things/1", {"X-Long": "x" * 20_000}),
        ("/things/1", {f"X-{number}": "x" * 100 for number in range(200)}),
        (f"/things/{'x' * 20_000}", {}),
        (f"/things/1?{'x' * 20_000}", {}),
    ):
        assert app.request("GET", path, headers=headers).status_code == 400
    assert app.request("GET", "/things/1", headers={"X-Long": "x" * 15_000}).status_code == 200


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "READ_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(30)

    answer = Application(configured()).request("POST", "/things/1", content=slow())
    assert (answer.status_code, answer.json()["message"]) == (408, "Request timeout.")


def test_every_answer_has_an_id_and_safe_headers() -> None:
    app = Application(configured())
    for path in ("/things/1", "/nope", "/probe"):
        answer = app.request("GET", path)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["content-security-policy"] == policy
    for given, kept in (("Abc-1_2", True), ("x" * 64, True), ("x" * 65, False), ("a b", False)):
        answer = app.request("GET", "/probe", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is kept


def test_a_defect_is_a_fixed_text_in_the_style_of_its_endpoint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_request: Request) -> Response:
        raise RuntimeError("secret /path host.internal")

    styles = {
        Style.STATUS: {"status": "error", "message": "Internal server error"},
        Style.SUCCESS: {
            "success": False,
            "message": "Failed to retrieve thing",
            "error": "Internal server error",
        },
    }
    for style, expected in styles.items():
        actions = {"GET": action(broken)}
        endpoint = Endpoint("/broken", style, actions, failure="Failed to retrieve thing")
        answer = Application(configured(), [endpoint]).request("GET", "/broken")
        assert (answer.status_code, answer.json()) == (500, expected)
        assert answer.headers["x-request-id"] in caplog.text


class Broken:
    """A layer of somebody else that fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")


def test_a_layer_that_fails_is_a_fixed_text_too() -> None:
    answer = Application(configured(), stack=[Middleware(Broken)]).request("GET", "/things/1")
    assert answer.status_code == 500
    assert answer.json() == {"status": "error", "message": "Internal server error"}


class Marked:
    """A layer of somebody else that marks answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def mark(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-mark", b"1")]  # type: ignore[misc]
            await send(message)

        await self._app(scope, receive, mark)


def test_own_layers_stand_where_the_setting_puts_them() -> None:
    own = f"{__name__}:Marked"
    for middleware, marked in ((f"{own},auth:token", True), (f"auth:token,{own}", False)):
        digest = "0" * 64
        settings = configured(middleware=middleware, auth__tokens=f"a:read:sha256:{digest}")
        app = Application(settings)
        app.app = create_app(settings)
        answer = app.request("GET", "/api/job-monitor/stats")
        assert answer.status_code == 401
        assert ("x-mark" in answer.headers) is marked


@pytest.mark.parametrize(
    "name", ["no.such.module:Layer", "jobmon.server:Layer", "json:JSONDecodeError.x"]
)
def test_a_layer_that_is_not_there_is_a_bad_value(name: str) -> None:
    with pytest.raises(SettingsError, match="middleware"):
        create_app(configured(middleware=f"api,{name}"))


def test_head_is_answered_as_get() -> None:
    assert Application(configured()).request("HEAD", "/things/1").status_code == 200
