"""Acceptance lines of what keeps a server safe: S69, S81, S83-S85, S90, against live servers."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from jobmon.server.passwords import keep, written
from tests.conftest import RedisServer
from tests.serving import OPERATE, PREFIX, READ, TOKENS, Served, bearer, until

pytestmark = pytest.mark.live

LIMITED = {"RATE_LIMITING_ENABLED": "true"}
RETRY = f"{PREFIX}/jobs/failed/1/retry"
"""Of no failed job: whoever may ask gets 404."""
USER = written(keep("ann", "operate", b"correct horse"))
TRACES = re.compile(
    r"Traceback|\.py\b|line \d|/home|/usr|/tmp|site-packages|SELECT|sqlite|redis://|redis\.|sqlalchemy"
    r"|127\.0\.0\.1|localhost|secret|Error\b(?!\")",
    re.IGNORECASE,
)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize(
    "settings",
    [
        {"AUTH_BASIC": USER, "MIDDLEWARE": "api,auth:basic"},
        {
            "AUTH_PROXY_HEADER": "X-User",
            "TRUSTED_PROXIES": "127.0.0.1",
            "MIDDLEWARE": "api,auth:proxy",
        },
        {"MIDDLEWARE": "api,auth:tests.server.test_auth:Login"},
    ],
    ids=lambda settings: settings["MIDDLEWARE"],
)
def test_s81_with_any_way_to_authenticate_it_starts(
    settings: dict[str, str], store: RedisServer
) -> None:
    with Served(store.url, LISTEN="0.0.0.0:0", **settings) as server:
        port = server.url.rpartition(":")[2]
        address = f"http://127.0.0.1:{port}{PREFIX}/commands/running"
        assert httpx.get(address, trust_env=False).status_code == 401
        known = {**basic("ann", "correct horse"), "X-User": "ann", "Cookie": "session=ann"}
        assert httpx.get(address, headers=known, trust_env=False).status_code == 200
        assert "no authentication is configured" not in server.logged()


def test_s81_unauthenticated_by_choice_nobody_changes_anything(store: RedisServer) -> None:
    with Served(store.url, AUTH_ALLOW_UNAUTHENTICATED="true") as server:
        assert server.get("commands/running").status_code == 200
        assert server.client.post(RETRY).status_code == 403
        assert server.client.delete(f"{PREFIX}/jobs/failed/1").status_code == 403


def test_s83_the_61st_request_of_a_burst_waits_whichever_server_it_asks(
    store: RedisServer,
) -> None:
    settings = {"AUTH_TOKENS": TOKENS, **LIMITED}
    with Served(store.url, **settings) as one, Served(store.url, **settings) as other:
        began = time.monotonic()
        passed = 0
        for _ in range(40):  # two at a time
            for server in (one, other):
                answer = server.get("commands/running", headers=bearer(READ))
                assert answer.headers["x-ratelimit-limit"] == "120"
                if answer.status_code == 429:
                    break
                passed += 1
                assert answer.status_code == 200
            else:
                continue
            break
        # While they were asked, two a second came.
        assert 60 <= passed <= 60 + 2 * (time.monotonic() - began) + 1
        assert answer.json() == {"status": "error", "message": "Too Many Attempts."}
        wait = int(answer.headers["retry-after"])
        assert wait == 1
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time()) < 3
        refused_at = time.monotonic()
        until(lambda: one.get("commands/running", headers=bearer(READ)).status_code == 200)
        assert time.monotonic() - refused_at < wait + 2
        # Others are not concerned, nor is what machines ask without end.
        assert one.get("commands/running", headers=bearer(OPERATE)).status_code == 200
        for path in ("/livez", "/readyz", "/metrics"):
            answers = [one.client.get(path, headers=bearer(READ)) for _ in range(70)]
            assert {answer.status_code for answer in answers} == {200}


def test_s84_ten_wrong_tokens_from_one_address_and_a_right_one_still_works(
    store: RedisServer,
) -> None:
    settings = {
        "AUTH_TOKENS": TOKENS,
        "AUTH_BASIC": USER,
        "MIDDLEWARE": "api,auth:token,auth:basic",
        **LIMITED,
    }
    with Served(store.url, **settings) as one, Served(store.url, **settings) as other:
        good = basic("ann", "correct horse")
        assert one.get("commands/running", headers=good).status_code == 200
        servers = (one, other) * 7
        wrong = [bearer(f"jmr_{n}") if n % 3 else basic("ann", f"{n}") for n in range(14)]
        answers = [
            server.get("commands/running", headers=headers)
            for server, headers in zip(servers, wrong, strict=True)
        ]
        statuses = [answer.status_code for answer in answers]
        # One more may have come meanwhile, every six seconds.
        assert statuses[:10] == [401] * 10
        assert statuses[10:].count(429) >= 3
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 6
        assert refused.json() == {"status": "error", "message": "Too Many Attempts."}
        for server in (one, other):
            assert server.get("commands/running", headers=bearer(READ)).status_code == 200
        # So does a password that was right a short while ago.
        assert one.get("commands/running", headers=good).status_code == 200


def test_s85_a_page_of_another_site_changes_nothing_unless_it_has_a_token(
    store: RedisServer,
) -> None:
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    form = {**evil, "Content-Type": "application/x-www-form-urlencoded"}
    with Served(store.url) as server:
        until(lambda: server.client.get("/readyz").status_code == 200)
        own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
        assert server.client.post(RETRY, headers=form, content="a=1").status_code == 403
        assert server.client.post(RETRY, headers=own).status_code == 404
        assert server.client.post(RETRY).status_code == 404
        until(lambda: "a page of https://evil.example" in server.logged())
    both = {"AUTH_TOKENS": TOKENS, "AUTH_BASIC": USER, "MIDDLEWARE": "api,auth:token,auth:basic"}
    with Served(store.url, **both) as server:
        until(lambda: server.client.get("/readyz").status_code == 200)
        for credentials, status in (
            (basic("ann", "correct horse"), 403),
            (bearer(OPERATE), 404),
            ({}, 401),
        ):
            answer = server.client.post(RETRY, headers={**evil, **credentials})
            assert answer.status_code == status


def test_s90_a_nasty_name_is_inert_in_the_audit_and_the_log(store: RedisServer) -> None:
    settings = {
        "AUTH_PROXY_HEADER": "X-User",
        "AUTH_PROXY_SCOPE": "operate",
        "TRUSTED_PROXIES": "127.0.0.1",
        "MIDDLEWARE": "api,auth:proxy",
        "LOGGING_STRUCTURED": "true",
    }
    with Served(store.url, **settings) as server:
        headers = {"X-User": "<script>ann", "X-Request-Id": "nasty-1"}
        path = f"{PREFIX}/jobs/failed/a%0D%0Aforged%1B%5B31m%E2%80%AE/retry"
        assert server.client.post(path, headers=headers).status_code == 404
        until(lambda: server.logged().count("nasty-1") >= 2)
        logged = server.logged()
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    audits = [line for line in lines if line["logger"] == "jobmon.audit"]
    assert [(line["who"], line["status"]) for line in audits] == [("<script>ann", 404)]
    assert audits[0]["target"] == "a\\r\\nforged\\x1b[31m\\u202e"
    assert "forged" not in [line[:6] for line in logged.splitlines()]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", logged)


def test_s69_an_error_says_nothing_of_the_inside(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = {
        "AUTH_TOKENS": TOKENS,
        "AUTH_BASIC": USER,
        "MIDDLEWARE": "api,auth:token,auth:basic",
        "DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/none",
        **LIMITED,
        "RATE_LIMITING_REQUESTS_PER_MINUTE": "1",
    }
    seen: set[int] = set()

    def look(answer: httpx.Response) -> None:
        seen.add(answer.status_code)
        assert answer.status_code >= 400
        assert answer.headers["content-type"] == "application/json"
        assert not TRACES.search(answer.text), answer.text

    with Served(own_redis_server.url, **settings) as server:
        good = bearer(OPERATE)
        look(server.get("stats"))
        look(server.get("stats", headers=basic("ann", "x")))
        look(server.get("stats", headers={"Host": "evil.example"}))
        look(server.get("stats", headers=bearer("jmm_prometheus")))
        look(server.get("nope", headers=good))
        look(server.client.post(f"{PREFIX}/stats", headers=good))
        look(server.client.post(f"{PREFIX}/stats", headers=good, content=b"x" * 70_000))
        look(server.get("stats", headers=good))
        own_redis_server.stop()
        look(server.get("commands/running", headers=good))
        look(server.get("health", headers=good))
        for _ in range(60):
            answer = server.get("nope", headers=good)
            look(answer)
            if answer.status_code == 429:
                break
    assert seen == {400, 401, 403, 404, 405, 413, 429, 503}


def test_a_header_that_is_too_long_is_refused_before_it_is_kept(store: RedisServer) -> None:
    with Served(store.url) as server:
        assert server.get("stats", headers={"X-Long": "x" * 20_000}).status_code == 400
        assert server.get("stats", headers={"X-Long": "x" * 100_000}).status_code == 400
        assert server.client.get("/livez").status_code == 200
