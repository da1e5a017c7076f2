"""Who may do what, with tokens and without."""

from __future__ import annotations

import pytest

from jobmon.server.app import create_app
from jobmon.settings import SettingsError
from tests.server.application import Application, configured
from tests.serving import METRICS, OPERATE, READ, TOKENS, bearer

WITH_TOKENS = configured(auth__tokens=TOKENS)


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


def test_tokens_without_their_layer_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"middleware: auth\.tokens is set"):
        create_app(configured(auth__tokens=TOKENS, middleware="api"))


def test_basic_authentication_is_refused_as_not_supported() -> None:
    for name in ("auth:basic", "auth:proxy"):
        with pytest.raises(SettingsError, match=f"{name} is not supported by this version"):
            configured(middleware=name)


def test_the_name_of_the_other_product_means_tokens() -> None:
    settings = configured(middleware="api,auth:sanctum", auth__tokens=TOKENS)
    assert settings.middleware == ("api", "auth:token")
    assert any("auth:sanctum" in warning for warning in settings.warnings)
