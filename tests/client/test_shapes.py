"""Answers of a server that is newer than the client, or stands behind another address."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobmon.answers.health import HealthReport, HealthStates
from jobmon.client import Listing
from tests.client.asking import JSON, Answer, Asking, Kind, answering
from tests.serving import Recorded, Served

PAGE = {
    **{"current_page": 1, "data": [], "first_page_url": "u", "from": None, "last_page": 1},
    **{"last_page_url": "u", "links": [], "next_page_url": None, "path": "u", "per_page": 20},
    **{"prev_page_url": None, "to": None, "total": 0},
}


def with_more(value: Any) -> Any:
    """The same with a member more in each object."""
    if isinstance(value, dict):
        return {**{name: with_more(one) for name, one in value.items()}, "newer": {"x": [1]}}
    return [with_more(one) for one in value] if isinstance(value, list) else value


def test_members_that_it_does_not_know_are_ignored(
    kind: Kind, known: Served, recorded: Recorded
) -> None:
    health = {
        "status": "healthy",
        "timestamp": "2025-08-03T12:00:00Z",
        "checks": {
            "redis": {"status": "healthy", "response_time": 0.1},
            "database": {"status": "unhealthy", "message": "Timed out"},
            "metrics_freshness": {"status": "skipped"},
        },
        "sync": None,
    }
    states = {name: health[name] for name in ("status", "timestamp")}
    states["checks"] = {
        name: {"status": check["status"]}
        for name, check in health["checks"].items()  # type: ignore[attr-defined]
    }
    bodies: dict[str, Any] = {
        "health": {"success": True, "data": health},
        "workers": {"success": True, "data": []},
        "jobs/failed": PAGE,
        "livez": {"success": True},
    }

    def answer(path: str) -> Answer:
        name = path.removeprefix("/api/job-monitor/").lstrip("/")
        return 200, JSON, json.dumps(with_more(bodies[name])).encode()

    with answering(answer) as url:
        ask = Asking(kind, url)
        report = ask("health")
        assert isinstance(report, HealthReport)
        assert report.checks.redis.status == "healthy"
        assert ask("workers") == []
        assert ask("failed_jobs").from_ is None
        assert ask("alive") is True
        bodies["health"]["data"] = states
        # Those of a stranger are by name; a name that is new would be no check of this version.
        assert isinstance(Asking(kind, url)("health"), HealthReport | HealthStates)


def test_a_link_to_another_server_is_not_followed(kind: Kind) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        cursor = path.partition("cursor=")[2]
        entry = {"id": cursor or "first", "status": "{}"}
        link = {} if cursor else {"Link": '<http://127.0.0.1:1/evil?cursor=a%2Fb>; rel="next"'}
        body = json.dumps({"status": "success", "data": [entry]}).encode()
        return 200, {**JSON, "X-Total-Count": "2", **link}, body

    with answering(answer) as url:
        ask = Asking(kind, url)
        page = ask("jobs_of_command", "an-id")
        assert isinstance(page, Listing)
        assert (page.total, page.next_cursor) == (2, "a/b")
        asked.clear()
        assert len(ask("iter_jobs_of_command", "an-id")) == 2
    jobs = "/api/job-monitor/commands/an-id/jobs"
    assert asked == [jobs, f"{jobs}?cursor=a%2Fb"]


def test_a_list_without_its_headers_counts_itself(kind: Kind) -> None:
    body = b'{"status":"success","data":[{"id":"x","status":"{}"}]}'
    with answering(lambda _: (200, JSON, body)) as url:
        page = Asking(kind, url)("jobs_of_command", "an-id")
    assert (page.total, page.next_cursor) == (1, None)


@pytest.mark.parametrize("method", ["retry", "delete_failed"])
def test_what_was_done_is_a_sentence(kind: Kind, method: str) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return 200, JSON, b'{"status":"success","message":"Done.","newer":1}'

    with answering(answer) as url:
        ask = Asking(kind, url)
        assert ask(method, 123) == "Done."
        assert ask.sent[0].method == {"retry": "POST", "delete_failed": "DELETE"}[method]
    assert asked[0].startswith("/api/job-monitor/jobs/failed/123")
