"""How many requests are in work at once, and who is not kept out."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from jobmon.server import crowd
from jobmon.server.endpoints import Endpoint
from jobmon.server.responses import Style
from tests.server.application import ENDPOINTS, Application, action, configured
from tests.serving import PREFIX, Served

STALLED = crowd.MOST_AT_ONCE + 44


def test_more_requests_than_bearable_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "MOST_AT_ONCE", 0)
    answer = Application(configured()).request("GET", "/things/1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


def test_probes_are_answered_in_any_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "MOST_AT_ONCE", 0)
    probes = [Endpoint(path, Style.SUCCESS, {"GET": action()}) for path in ("/livez", "/readyz")]
    app = Application(configured(), [*ENDPOINTS, *probes])
    assert [app.request("GET", one.path).status_code for one in probes] == [200, 200]


@pytest.mark.live
def test_bodies_that_do_not_come_keep_nobody_out(served: Served) -> None:
    host, path = urlsplit(served.url).netloc, f"{PREFIX}/commands/running"
    begun = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n"
    with ExitStack() as opened:
        for _ in range(STALLED):
            stalled = opened.enter_context(_connected(host))
            head = f"{begun}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            stalled.sendall(head.encode())
            # The server says so once it waits for the body.
            assert stalled.recv(100).startswith(b"HTTP/1.1 100 ")
        assert served.client.get("/livez").status_code == 200
        assert served.client.get("/readyz").status_code == 200
        assert served.get("commands/running").status_code == 200


@pytest.mark.live
def test_a_body_that_nobody_announced_is_not_waited_for(served: Served) -> None:
    host = urlsplit(served.url).netloc
    with _connected(host) as connection:
        connection.sendall(f"POST /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        connection.settimeout(5)  # a body has twice as long
        assert connection.recv(100).startswith(b"HTTP/1.1 405 ")


def _connected(host: str) -> socket.socket:
    name, _, port = host.rpartition(":")
    return socket.create_connection((name, int(port)), 20)
