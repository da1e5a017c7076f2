"""What is raised where a server does not answer as asked, and what it tells."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from jobmon.client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from jobmon.errors import JobmonError
from tests.client.asking import JSON, Answer, Asking, Kind, answering
from tests.conftest import RedisServer
from tests.serving import METRICS, READ, Served

pytestmark = pytest.mark.live


def raised(kind: type[ApiError], asked: Callable[[], Any]) -> ApiError:
    """The error, of exactly that kind."""
    with pytest.raises(kind) as caught:
        asked()
    assert type(caught.value) is kind
    return caught.value


def always(*answer: Any) -> Callable[[str], Answer]:
    return lambda _: answer


def test_whoever_is_unknown_or_may_not(kind: Kind, known: Served) -> None:
    wrong = raised(Unauthorized, lambda: Asking(kind, known.url, token="wrong")("stats"))
    assert (wrong.status, wrong.message) == (401, "Unauthenticated.")
    other = raised(Forbidden, lambda: Asking(kind, known.url, token=METRICS)("stats"))
    assert (other.status, other.message) == (403, "This action is unauthorized.")
    assert str(other) == "GET /api/job-monitor/stats: 403 This action is unauthorized."


def test_what_is_not_there_in_each_style(ask: Asking) -> None:
    missing = raised(NotFound, lambda: ask("job", "unknown"))
    assert (missing.status, missing.message, missing.errors) == (404, "Not found.", {})
    assert missing.request == "GET /api/job-monitor/jobs/unknown"
    raised(NotFound, lambda: ask("jobs_of_command", "no-uuid"))
    raised(NotFound, lambda: ask("command", "71c4a1c6-0000-4000-8000-0123456789ab"))


def test_what_is_not_allowed_by_parameter(ask: Asking) -> None:
    found = raised(Invalid, lambda: ask("job_metrics", days=0, per_page=101))
    assert found.status == 422
    assert found.errors == {
        "days": ["The days field must be between 1 and 365."],
        "per_page": ["The per page field must be between 1 and 100."],
    }
    assert found.message == "The days field must be between 1 and 365. (and 1 more error)"
    raised(Invalid, lambda: ask("iter_failed_jobs", per_page=0))


def test_every_error_names_the_request_as_the_log_does(ask: Asking, known: Served) -> None:
    missing = raised(NotFound, lambda: ask("job", "unknown"))
    assert missing.request_id
    assert missing.request_id in known.logged()


def test_too_many_requests_tell_when_to_come_back(kind: Kind, store: RedisServer) -> None:
    limits = {"RATE_LIMITING_REQUESTS_PER_MINUTE": "1", "RATE_LIMITING_BURST_LIMIT": "1"}
    with Served(store.url, RATE_LIMITING_ENABLED="true", **limits) as server:
        ask = Asking(kind, server.url)
        ask("workers")
        refused = raised(TooManyRequests, lambda: ask("workers"))
        assert refused.status == 429
        assert refused.retry_after_seconds is not None
        assert 30 < refused.retry_after_seconds <= 60
        assert len(ask.sent) == 1, "longer than the longest wait"


def test_a_store_that_is_away_is_unavailable_or_a_fault_by_style(
    kind: Kind, own_redis_server: RedisServer
) -> None:
    with Served(own_redis_server.url) as server:
        own_redis_server.stop()
        ask = Asking(kind, server.url, retries=0)
        away = raised(Unavailable, lambda: ask("stats"))
        assert (away.status, away.retry_after_seconds) == (503, 5)
        fault = raised(ServerError, lambda: ask("workers"))
        assert (fault.status, fault.message) == (500, "Failed to retrieve workers")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, ApiError), (405, ApiError), (409, Conflict), (502, ServerError), (503, Unavailable)],
)
def test_a_page_of_a_proxy_is_an_error_by_its_status(
    kind: Kind, status: int, expected: type[ApiError]
) -> None:
    page = always(status, {"Content-Type": "text/html"}, b"<h1>Sorry</h1>")
    with answering(page) as url:
        ask = Asking(kind, url, retries=0)
        error = raised(expected, lambda: ask("stats"))
        assert (error.status, error.message) == (status, httpx.codes.get_reason_phrase(status))
        if status == 503:
            raised(expected, lambda: ask("health"))


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "text/html"}, b"<h1>Welcome</h1>"),
        (200, JSON, b'{"status":"success","data":{"total_failed":"many"}}'),
        (200, JSON, b'{"status":"success"}'),
        (200, JSON, b""),
        (302, {"Location": "/login"}, b""),
    ],
)
def test_what_is_no_answer_of_the_api_is_unexpected(kind: Kind, answer: Answer) -> None:
    with answering(always(*answer)) as url:
        ask = Asking(kind, url)
        for method in ("stats", "running_commands", "failed_jobs", "metrics", "alive"):
            if method == "metrics" and answer[0] == 200:
                assert raised(UnexpectedAnswer, lambda: ask("metrics")).status == 200
            error = raised(UnexpectedAnswer, lambda: ask(method))  # noqa: B023  called at once
            assert error.status == answer[0]


def test_no_answer_at_all_is_unreachable_and_shows_no_password(kind: Kind) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        ask = Asking(kind, f"http://ann:secret@{place}", retries=0)
        error = raised(Unreachable, lambda: ask("stats"))
    assert error.status is None
    assert error.message.startswith(f"{place} does not answer: ")
    assert "secret" not in f"{error}{error!r}"
    assert isinstance(error.__cause__, httpx.ConnectError)


def test_errors_have_one_root_and_can_be_pickled() -> None:
    known = ApiError.__subclasses__() + ServerError.__subclasses__()
    for each in [ApiError, *known]:
        assert issubclass(each, JobmonError)
        error = each("No.", "GET /x", 422, {"days": ["No."]}, "an-id", 5)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is each
        assert vars(again) == vars(error)
        assert str(again) == str(error) == "GET /x: 422 No."
    assert str(ApiError("No.")) == "No."


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_arguments_that_cannot_be_meant_are_refused(client: Any) -> None:
    for address in ("localhost:8765", "shop.example", "redis://x"):
        with pytest.raises(ValueError, match="http"):
            client(address)
    with pytest.raises(ValueError, match="not both"):
        client("http://x", token=READ, user=("ann", "secret"))
