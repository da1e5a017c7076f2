"""Answers of a server that is newer than the client, or stands behind another address."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobmon.client import Listing
from jobmon.model import Outcome
from tests.client.asking import JSON, Answer, Asking, Kind, answering
from tests.conftest import RedisServer
from tests.serving import Recorded, Served, until


def with_more(value: Any) -> Any:
    """The same with a member more in each object whose members are not users' words."""
    if isinstance(value, dict):
        known = {
            n: one if n in ("arguments", "options") else with_more(one) for n, one in value.items()
        }
        return {**known, "newer": {"x": [1]}}
    return [with_more(one) for one in value] if isinstance(value, list) else value


def test_members_that_it_does_not_know_are_ignored(
    kind: Kind, recorded: Recorded, redis_server: RedisServer
) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.FAILED)

    def answer(path: str) -> Answer:
        found = server.client.get(path)
        return found.status_code, JSON, json.dumps(with_more(found.json())).encode()

    with Served(redis_server.url) as server, answering(answer) as url:
        newer, this = Asking(kind, url), Asking(kind, server.url)
        for method in ("running_commands", "workers", "schedules", "late_jobs", "alive", "ready"):
            assert newer(method) == this(method), method
        assert newer("jobs_of_command", run.id).entries == this("jobs_of_command", run.id).entries
        assert newer("command", run.id).counters == this("command", run.id).counters
        assert newer("health").checks.database == this("health").checks.database
        until(lambda: newer("failed_jobs").total == 2)
        assert newer("failed_jobs").data == this("failed_jobs").data
        assert newer("dashboard").summary == this("dashboard").summary


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


def test_an_address_may_have_a_path_and_a_slash(kind: Kind) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return 200, JSON, b'{"success":true,"data":[]}'

    with answering(answer) as url:
        for address in (f"{url}/jobmon", f"{url}/jobmon/"):
            assert Asking(kind, address)("workers") == []
        assert Asking(kind, f"{url}/jobmon/", prefix="/its/own/")("workers") == []
        assert Asking(kind, f"{url}/jobmon")("alive") is True
    assert asked == [
        "/jobmon/api/job-monitor/workers",
        "/jobmon/api/job-monitor/workers",
        "/jobmon/its/own/workers",
        "/jobmon/livez",
    ]
