"""S73: the served document is OpenAPI 3.1, and the server answers as it says and in no other way.

Every JSON answer that any test gets from a server is held against it too, see `tests.described`.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from jobmon.model import Outcome
from tests.acceptance.test_away import TELLING
from tests.conftest import RedisServer
from tests.databases import made
from tests.described import description
from tests.filled import Filled, filled
from tests.serving import OPERATE, PREFIX, READ, TOKENS, Recorded, Served, bearer

pytestmark = pytest.mark.live

REQUESTS = 10_000
ERROR = 400
ELSEWHERE = """
import random
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    place = f"198.18.{random.randrange(256)}.{random.randrange(256)}"
    case.headers = {**(case.headers or {}), "X-Forwarded-For": place}
"""
"""For Schemathesis: every request comes from another address, as one may fail only ten times."""


@pytest.fixture(scope="module")
def known(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that wants tokens, whose store and history have something to show."""
    folder = tmp_path_factory.mktemp("history")
    with made("sqlite", folder) as one, filled(one) as history:
        _fill(history)
        settings = {"AUTH_TOKENS": TOKENS, "TRUSTED_PROXIES": "127.0.0.1"}
        with Served(redis_server.url, DATABASE_URL=one.url, **settings) as server:
            yield server


def _fill(history: Filled) -> None:
    for ago in (60.0, 120.0):
        run = history.run(jobs=3, seconds=1.0, ago=ago)
        history.jobs(2, process_id=run)
        history.jobs(1, "failed", process_id=run)


def test_s73_the_document_is_served_and_known_again(known: Served, recorded: Recorded) -> None:
    answer = known.get("openapi.json", headers=bearer(READ))
    assert answer.json()["openapi"] == "3.1.0"
    assert answer.json() | {"servers": []} == description(PREFIX.strip("/")).document | {
        "servers": []
    }
    etag = answer.headers["etag"]
    again = known.get("openapi.json", headers={**bearer(READ), "If-None-Match": f'"x", W/{etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert known.get("openapi.json").status_code == 401


def test_s73_s89_the_document_is_readable_without_a_script(
    known: Served, recorded: Recorded
) -> None:
    page = known.get("docs", headers=bearer(READ))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script|<link|<img|src=|https?://(?!your\.app)", page.text)
    assert "/api/job-monitor/commands/{processId}/jobs" in page.text


def test_s73_schemathesis_finds_nothing(known: Served, recorded: Recorded, tmp_path: Path) -> None:
    run = recorded.run()
    run.jobs(3, Outcome.COMPLETED)
    run.jobs(1)
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            *(f"{known.url}{PREFIX}/openapi.json", "--header", f"Authorization: Bearer {OPERATE}"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", "500" if os.environ.get("JOBMON_SOAK") else "25"),
            *("--max-time", "60" if os.environ.get("JOBMON_SOAK") else "30", "--no-color"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "SCHEMATHESIS_HOOKS": "elsewhere"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_s73_nonsense_is_no_defect_and_learns_nothing(known: Served, recorded: Recorded) -> None:
    chance = random.Random(73)
    place = urlsplit(known.url)
    paths = list(description(PREFIX.strip("/")).document["paths"])
    statuses: set[int] = set()
    for number in range(REQUESTS):
        sent = _nonsense(chance, paths, f"{place.hostname}:{place.port}")
        answer = _answer(str(place.hostname), int(place.port or 0), sent)
        if not answer:  # what is not even a request may be hung up on
            continue
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        statuses.add(status)
        assert status != 500, (number, sent, answer)
        if status >= ERROR:
            assert not TELLING.search(body.decode()), (number, sent, body)
    assert {200, 400, 401, 404, 405, 422} <= statuses


def _nonsense(chance: random.Random, paths: list[str], host: str) -> bytes:
    """A request of which parts are right and parts are not."""

    def some(longest: int = 12) -> str:
        return "".join(chr(chance.choice(_CHARACTERS)) for _ in range(chance.randrange(longest)))

    known = ["71c4a1d0-5b0f-4f0e-9d57-0f6c3d1a2b4e", "1", "2", "failed", quote(some(), safe="")]
    path = re.sub(r"\{\w+\}", lambda _: chance.choice(known), chance.choice(paths))
    if chance.random() < 0.1:
        path += chance.choice(["/", "//", "/..", "%2e%2e", "%00", f"/{quote(some())}"])
    names = ["days", "page", "per_page", "command", "process_id", "status", "cursor"]
    names += ["severity", some()]
    values = ["", "0", "1", "-1", "9" * 40, "x", "data:process", "failed", "high"]
    values += [known[0], some(300)]
    query = "&".join(
        f"{quote(chance.choice(names))}={quote(chance.choice(values))}"
        for _ in range(chance.randrange(4))
    )
    method = chance.choice(["GET"] * 12 + ["POST", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE"])
    headers = [f"Host: {host}", f"Authorization: Bearer {OPERATE}", "Connection: close"]
    if chance.random() < 0.1:
        headers[chance.randrange(2)] = chance.choice(["Host: evil", "X: y", "Authorization: Basic"])
    body = some(200).encode() if chance.random() < 0.2 else b""
    if body:
        headers.append(f"Content-Length: {len(body)}")
    lines = [f"{method} {path}?{query} HTTP/1.1", *headers, "", ""]
    request = bytearray("\r\n".join(lines).encode("utf-8") + body)
    if chance.random() < 0.05:
        request[chance.randrange(len(request))] = chance.randrange(256)
    return bytes(request)


_CHARACTERS = [*range(128), 0xE9, 0x2028, 0x1F600, 0xFFFD]


def _answer(host: str, port: int, sent: bytes) -> bytes:
    with socket.create_connection((host, port), 20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        try:
            while some := connection.recv(65_536):
                found += some
        except ConnectionResetError:
            return b""
    return found
