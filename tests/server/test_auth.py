"""Who may do what, with tokens and without."""

from __future__ import annotations

import pytest

from jobmon.server.app import create_app
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
    app = Application(configured(allowed_hosts="10.0.0.5"))
    for base in ("http://127.0.0.1:8765", "http://[::1]:8765", "http://127.0.0.1:1"):
        assert app.request("POST", "/things/1", base=base).status_code == 200
    elsewhere = app.request("GET", "/things/1", base="http://10.0.0.5:8765")
    assert elsewhere.status_code == 401
    assert app.request("GET", "/probe", base="http://10.0.0.5:8765").status_code == 200


def test_unauthenticated_by_choice_everyone_may_read_and_nobody_may_write() -> None:
    app = Application(configured(auth__allow_unauthenticated=True, allowed_hosts="10.0.0.5"))
    for base in ("http://127.0.0.1:8765", "http://10.0.0.5:8765"):
        assert app.request("GET", "/things/1", base=base).status_code == 200
        assert app.request("POST", "/things/1", base=base).status_code == 403


@pytest.mark.parametrize(
    ("given", "problem"),
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
    given: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        create_app(configured(auth__tokens=TOKENS, **given))


def test_the_name_of_the_other_product_means_tokens() -> None:
    settings = configured(middleware="api,auth:sanctum", auth__tokens=TOKENS)
    assert settings.middleware == ("api", "auth:token")
    assert any("auth:sanctum" in warning for warning in settings.warnings)
