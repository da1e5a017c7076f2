"""How much one client may ask: of all servers together, and of one while Redis is away."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.types import Scope

from jobmon.server.endpoints import Endpoint
from jobmon.server.limits import address
from jobmon.server.meter import Meter
from jobmon.server.responses import Style
from jobmon.settings import Settings
from tests.conftest import RedisServer
from tests.server.application import ENDPOINTS, Application, action, configured
from tests.serving import OPERATE, READ, TOKENS, bearer, until

DEAR = Endpoint("/dear", Style.SUCCESS, {"GET": action(permission="read", cost=3)})
FREE = Endpoint("/free", Style.SUCCESS, {"GET": action(permission="read", cost=0)})


class Limited(Application):
    """Endpoints behind all layers, limits among them."""

    def __init__(self, settings: Settings) -> None:
        self.meter = Meter(settings)
        super().__init__(settings, [*ENDPOINTS, DEAR, FREE], meter=self.meter)

    def status(self, path: str = "/things/1", **more: object) -> int:
        return self.request("GET", path, **more).status_code  # type: ignore[arg-type]


def limited(store: RedisServer, **more: object) -> Settings:
    given = {"redis__url": store.url, "rate_limiting__requests_per_minute": 1}
    return configured(**{**given, "rate_limiting__burst_limit": 5, **more})


@pytest.fixture
def app(store: RedisServer) -> Iterator[Limited]:
    found = Limited(limited(store, auth__tokens=TOKENS))
    yield found
    found.meter.close()


def test_every_answer_tells_what_is_left_and_the_last_when_to_come_back(app: Limited) -> None:
    for left in (4, 3, 2, 1, 0):
        answered = app.request("GET", "/things/1", headers=bearer(READ))
        assert answered.status_code == 200
        assert answered.headers["x-ratelimit-limit"] == "1"
        assert answered.headers["x-ratelimit-remaining"] == str(left)
        assert "x-ratelimit-reset" not in answered.headers
        assert "retry-after" not in answered.headers
    refused = app.request("GET", "/things/1", headers=bearer(READ))
    assert refused.status_code == 429
    assert refused.json() == {"status": "error", "message": "Too Many Attempts."}
    assert refused.headers["x-ratelimit-limit"] == "1"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert 0 < int(refused.headers["x-ratelimit-reset"]) - time.time() <= 61
    assert app.request("GET", "/dear", headers=bearer(READ)).json() == {
        "success": False,
        "message": "Too Many Attempts.",
        "error": "Too Many Requests",
    }


def test_each_token_has_its_own_bucket_wherever_it_comes_from(app: Limited) -> None:
    places = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
    for place in places:
        assert app.status(client=place, headers=bearer(READ)) == 200
    assert app.status(headers=bearer(READ)) == 429
    assert app.status(headers=bearer(OPERATE)) == 200


def test_without_a_name_each_address_has_one(store: RedisServer) -> None:
    app = Limited(limited(store))
    for last in range(5):
        assert app.status(client=f"2001:db8::{last}") == 200
    assert app.status(client="2001:db8:0:0:ffff::1") == 429
    assert app.status(client="2001:db8:0:1::1") == 200
    app.meter.close()


def test_what_costs_more_takes_more_and_what_is_free_nothing(app: Limited) -> None:
    headers = bearer(READ)
    assert app.status("/dear", headers=headers) == 200
    assert app.status("/dear", headers=headers) == 429
    assert app.status("/nope", headers=headers) == 404
    assert app.request("BREW", "/things/1", headers=headers).status_code == 405
    assert app.status("/things/1", headers=headers) == 429
    assert app.status("/free", headers=headers) == 200
    assert app.status("/probe") == 200


def test_switched_off_nothing_is_told(store: RedisServer) -> None:
    for settings in (
        limited(store, middleware="auth:token"),
        limited(store, rate_limiting__enabled=False),
    ):
        app = Limited(settings)
        for _ in range(8):
            answered = app.request("GET", "/things/1")
            assert answered.status_code == 200
            assert "x-ratelimit-limit" not in answered.headers
        app.meter.close()


@pytest.mark.parametrize("more", [{"middleware": "auth:token"}, {"rate_limiting__enabled": False}])
def test_switched_off_failures_are_limited_all_the_same(
    more: dict[str, object], store: RedisServer
) -> None:
    app = Limited(limited(store, auth__tokens=TOKENS, **more))
    statuses = [app.status(headers=bearer("jmr_wrong")) for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    app.meter.close()


def test_ten_failures_a_minute_and_a_right_token_still_passes(app: Limited) -> None:
    wrong = bearer("jmr_wrong")
    assert [app.status(headers=wrong) for _ in range(12)] == [401] * 10 + [429] * 2
    assert app.status("/open", headers=wrong) == 429
    refused = app.request("GET", "/things/1", headers=wrong)
    assert refused.json() == {"status": "error", "message": "Too Many Attempts."}
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert refused.headers["x-ratelimit-limit"] == "10"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert app.status(headers=bearer(READ)) == 200
    assert app.status() == 401  # no token is no failure
    assert app.status(client="192.0.2.1", headers=wrong) == 401


@pytest.mark.parametrize(
    ("client", "who"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8:1:2:3::4", 5), "2001:db8:1:2::/64"),
        (("testclient", 5), "testclient"),
        (None, ""),
    ],
)
def test_whom_a_client_counts_as(client: tuple[str, int] | None, who: str) -> None:
    scope: Scope = {"type": "http", "client": client}
    assert address(scope) == who


def test_without_redis_a_server_counts_by_itself_from_where_it_was(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    app = Limited(limited(own_redis_server))
    assert [app.status() for _ in range(3)] == [200] * 3
    own_redis_server.stop()
    assert [app.status() for _ in range(4)] == [200, 200, 429, 429]
    assert caplog.text.count("this server limits requests by itself") == 1
    assert str(own_redis_server.port) not in caplog.text
    own_redis_server.start()
    # Redis has forgotten; this server has not, and never gives more than either says.
    others = (f"192.0.2.{last}" for last in range(1, 255))
    with own_redis_server.client() as client:
        until(lambda: app.status(client=next(others)) == 200 and bool(client.keys("*rate*")), 30)
    assert app.status() == 429
    app.meter.close()


def test_a_redis_that_hangs_holds_nobody_up(own_redis_server: RedisServer) -> None:
    app = Limited(limited(own_redis_server, rate_limiting__burst_limit=50))
    assert app.status() == 200
    assert own_redis_server.process is not None
    own_redis_server.process.send_signal(signal.SIGSTOP)

    def one(_: int) -> tuple[int, float]:
        began = time.monotonic()
        return app.status(), time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(60)))
    statuses = [status for status, _ in found]
    assert statuses.count(200) == 49
    assert statuses.count(429) == 11
    # Only those that came before it was known wait at all.
    assert max(seconds for _, seconds in found) < 2
    assert sum(seconds > 0.25 for _, seconds in found) <= 16
    own_redis_server.process.send_signal(signal.SIGCONT)
    app.meter.close()


def test_a_redis_that_takes_no_writes_is_one_that_is_away(own_redis_server: RedisServer) -> None:
    app = Limited(limited(own_redis_server))
    with own_redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-set")
    assert [app.status() for _ in range(6)] == [200] * 5 + [429]
    app.meter.close()
