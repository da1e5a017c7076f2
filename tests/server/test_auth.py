"""Who may do what: by a token, a password, a proxy, a layer of one's own, and without any."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from jobmon.server import admit, create_app
from jobmon.server.passwords import keep, written
from jobmon.settings import SettingsError
from tests.server.application import Application, configured
from tests.serving import METRICS, OPERATE, READ, TOKENS, bearer

WITH_TOKENS = configured(auth__tokens=TOKENS)
PASSWORD = "correct horse: battery"
USER = written(keep("ann", "operate", PASSWORD.encode()))


@pytest.mark.parametrize(
    ("method", "token", "status"),
    [
        ("GET", READ, 200),
        ("HEAD", READ, 200),
        ("POST", READ, 403),
        ("GET", OPERATE, 200),
        ("POST", OPERATE, 200),
        ("GET", METRICS, 403),
        ("POST", METRICS, 403),
        ("DELETE", METRICS, 405),
    ],
)
def test_a_scope_allows_what_it_says(method: str, token: str, status: int) -> None:
    answer = Application(WITH_TOKENS).request(method, "/things/1", headers=bearer(token))
    assert answer.status_code == status


def test_an_open_endpoint_takes_no_token_but_no_wrong_one_either() -> None:
    app = Application(WITH_TOKENS)
    assert app.request("GET", "/open").status_code == 200
    assert app.request("GET", "/open", headers=bearer(METRICS)).status_code == 200
    assert app.request("GET", "/open", headers=bearer("nope")).status_code == 401


def test_a_probe_answers_whatever_the_token() -> None:
    app = Application(WITH_TOKENS)
    for headers in ({}, bearer("nope"), bearer(METRICS)):
        assert app.request("GET", "/probe", headers=headers).status_code == 200
    assert app.request("POST", "/probe").status_code == 401


def test_two_authorization_headers_are_none() -> None:
    twice = [("Authorization", f"Bearer {READ}")] * 2
    answer = Application(WITH_TOKENS).request("GET", "/things/1", headers=twice)
    assert answer.status_code == 401


def test_without_tokens_only_this_machine_is_let_in() -> None:
    app = Application(configured())
    for base in ("http://127.0.0.1:8765", "http://[::1]:8765", "http://127.0.0.1:1"):
        assert app.request("POST", "/things/1", base=base).status_code == 200
    elsewhere = app.request("GET", "/things/1", base="http://10.0.0.5:8765")
    assert elsewhere.status_code == 401
    assert app.request("GET", "/probe", base="http://10.0.0.5:8765").status_code == 200


def test_unauthenticated_by_choice_everyone_may_read_and_nobody_may_write() -> None:
    app = Application(configured(auth__allow_unauthenticated=True))
    for base in ("http://127.0.0.1:8765", "http://10.0.0.5:8765"):
        assert app.request("GET", "/things/1", base=base).status_code == 200
        assert app.request("POST", "/things/1", base=base).status_code == 403


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"middleware": "api"}, r"middleware: auth\.tokens is set, so it must hold auth:token"),
        ({"auth__basic": USER}, r"middleware: auth\.basic is set, so it must hold auth:basic"),
        ({"middleware": "auth:token,auth:basic"}, r"auth\.basic: .* so it must be set"),
        ({"auth__proxy_header": "X-User"}, "so it must hold auth:proxy"),
        (
            {"auth__proxy_header": "X-User", "middleware": "auth:token,auth:proxy"},
            "trusted_proxies: middleware holds auth:proxy, so it must name the proxy",
        ),
    ],
)
def test_what_is_configured_and_what_is_asked_for_must_agree(
    more: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        create_app(configured(**{"auth__tokens": TOKENS, **more}))


def test_the_name_of_the_other_product_means_tokens() -> None:
    chosen = configured(middleware="api,auth:sanctum", auth__tokens=TOKENS)
    assert chosen.middleware == ("api", "auth:token")
    assert any("auth:sanctum" in warning for warning in chosen.warnings)


STRANGER = Application(
    configured(
        auth__tokens=TOKENS,
        auth__basic=USER.replace(":16384:8:5:", ":2:1:1:"),
        auth__proxy_header="X-User",
        middleware="auth:proxy,auth:token,auth:basic",
        trusted_proxies="10.0.0.0/8",
    )
)


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


WITH_ALL = configured(
    auth__tokens=TOKENS,
    auth__basic=f"{USER},{written(keep('eve', 'read', b'p'))}",
    auth__proxy_header="X-User",
    middleware="auth:proxy,auth:token,auth:basic",
    trusted_proxies="10.0.0.0/8",
    rate_limiting__enabled=False,
)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (basic("ann", PASSWORD), 200),
        (basic("eve", "p"), 403),
        (basic("ann", PASSWORD + "x"), 401),
        (basic("eve", PASSWORD), 401),
        (basic("nobody", PASSWORD), 401),
        (basic("", ""), 401),
        (basic("ann", ""), 401),
        (basic("ann", "x" * 300), 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": "Basic /w=="}, 401),
        ({"Authorization": f"Bearer {PASSWORD}"}, 401),
        (bearer(OPERATE), 200),
    ],
)
def test_a_password_is_as_good_as_a_token(headers: dict[str, str], status: int) -> None:
    app = Application(WITH_ALL)
    for _ in range(2):  # a password that was right is known the second time
        assert app.request("POST", "/things/1", headers=headers).status_code == status


def test_a_stranger_is_told_each_way_to_be_known() -> None:
    for chosen, challenges in (
        (WITH_TOKENS, ['Bearer realm="jobmon"']),
        (WITH_ALL, ['Bearer realm="jobmon"', 'Basic realm="jobmon", charset="UTF-8"']),
    ):
        refused = Application(chosen).request("GET", "/things/1")
        assert refused.status_code == 401
        assert refused.headers.get_list("www-authenticate") == challenges


def test_a_user_is_named_by_a_trusted_proxy_alone() -> None:
    app = Application(WITH_ALL)
    named = {"X-User": "Zoë B.".encode()}
    assert app.request("GET", "/things/1", client="10.1.1.1", headers=named).status_code == 200
    assert app.request("POST", "/things/1", client="10.1.1.1", headers=named).status_code == 403
    assert app.request("GET", "/things/1", client="192.0.2.1", headers=named).status_code == 401
    twice = [("X-User", "ann"), ("X-User", "ben")]
    for wrong in (twice, {"X-User": ""}, {"X-User": " "}, {"X-User": "x" * 256}):
        answer = app.request("GET", "/things/1", client="10.1.1.1", headers=wrong)
        assert answer.status_code == 401


class Login:
    """A layer of somebody else: knows who it is by a cookie, and answers some by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies = dict(scope.get("headers", ())).get(b"cookie", b"")
        if cookies == b"session=ann":
            admit(scope, "ann", "operate")
        if cookies == b"session=old":
            await PlainTextResponse("log in again", 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def test_a_layer_of_ones_own_can_authenticate() -> None:
    own = f"auth:{__name__}:Login"
    for chosen in (
        configured(middleware=own),
        configured(middleware=f"auth:token,{own}", auth__tokens=TOKENS),
        configured(middleware=f"{own},auth:token", auth__tokens=TOKENS),
    ):
        app = Application(chosen)
        ann = {"Cookie": "session=ann"}
        assert app.request("POST", "/things/1", headers=ann).status_code == 200
        answer = app.request("GET", "/things/1", headers={"Cookie": "session=old"})
        assert (answer.status_code, answer.text) == (401, "log in again")
        # This machine is nobody special once somebody authenticates.
        assert app.request("GET", "/things/1").status_code == 401
        status = 200 if chosen.auth.tokens else 401
        assert app.request("GET", "/things/1", headers=bearer(READ)).status_code == status


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8765"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8765"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://127.0.0.1:8765"}, True),
        ({"Origin": "https://jobs.example"}, True),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "https://127.0.0.1:8765"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_a_page_of_another_site_changes_nothing(headers: Mapping[str, str], passes: bool) -> None:
    local = configured(public_url="https://jobs.example:443/x")
    everyway = configured(
        public_url="https://jobs.example",
        auth__tokens=TOKENS,
        auth__basic=USER,
        auth__proxy_header="X-User",
        auth__proxy_scope="operate",
        middleware=f"auth:{__name__}:Login,auth:token,auth:basic,auth:proxy",
        trusted_proxies="127.0.0.1",
    )
    for chosen, credentials in (
        (local, {}),
        (everyway, basic("ann", PASSWORD)),
        (everyway, {"X-User": "ann"}),
        (everyway, {"Cookie": "session=ann"}),
    ):
        app, sent = Application(chosen), {**headers, **credentials}
        answer = app.request("POST", "/things/1", headers=sent)
        assert answer.status_code == (200 if passes else 403)
        if not passes:
            expected = {"status": "error", "message": "This action is unauthorized."}
            assert answer.json() == expected
        assert app.request("GET", "/things/1", headers=sent).status_code == 200
        assert app.request("PUT", "/things/1", headers=sent).status_code == 405
    # Browsers send no token by themselves.
    sent = {**headers, **bearer(OPERATE)}
    assert Application(everyway).request("POST", "/things/1", headers=sent).status_code == 200


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.binary(max_size=60).map(lambda text: b"Bearer " + text),
            st.binary(max_size=60).map(lambda text: b"Basic " + base64.b64encode(text)),
        ),
        max_size=3,
    ),
    st.lists(st.binary(max_size=20), max_size=2),
)
def test_nothing_that_a_stranger_sends_is_a_defect(sent: list[bytes], users: list[bytes]) -> None:
    headers = [(b"host", b"localhost")]
    headers += [(b"authorization", value) for value in sent]
    headers += [(b"x-user", value) for value in users]
    answer = STRANGER.request("GET", "/things/1", headers=headers, client="192.0.2.1")
    assert answer.status_code == 401
