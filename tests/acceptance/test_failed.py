"""Failed jobs over HTTP against a live server: S40-S47."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.conftest import RedisServer
from tests.databases import Database
from tests.filled import Filled, filled
from tests.serving import PREFIX, Served

pytestmark = pytest.mark.live

KEYS = [
    *("current_page", "data", "first_page_url", "from", "last_page", "last_page_url", "links"),
    *("next_page_url", "path", "per_page", "prev_page_url", "to", "total"),
]


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Filled]:
    """A history on SQLite."""
    with databases.made("sqlite", tmp_path) as one, filled(one) as history:
        yield history


def test_s40_s41_pages_of_failed_jobs(own_database: Database, store: RedisServer) -> None:
    with filled(own_database) as history:
        for ago in (30.0, 10.0, 20.0):
            history.jobs(30, "failed", ago=ago)
        history.jobs(5, "lost", ago=40.0)
        with Served(store.url, DATABASE_URL=history.url) as server:
            first, last = server.get("jobs/failed").json(), server.get("jobs/failed?page=5").json()
            pages = [server.get(f"jobs/failed?page={n}").json()["data"] for n in range(1, 7)]
    assert list(first) == KEYS
    assert (first["per_page"], first["from"], first["to"]) == (20, 1, 20)
    assert first["prev_page_url"] is None
    at = f"{server.url}{PREFIX}/jobs/failed"
    assert first["path"] == at
    assert first["next_page_url"] == f"{at}?page=2"
    assert (last["total"], last["last_page"], last["current_page"]) == (95, 5, 5)
    assert (last["from"], last["to"]) == (81, 95)
    assert (last["next_page_url"], last["prev_page_url"]) == (None, f"{at}?page=4")
    assert pages[5] == []
    rows = [row for page in pages for row in page]
    assert len({row["id"] for row in rows}) == 95
    order = [(row["failed_at"], row["id"]) for row in rows]
    assert [at for at, _ in order] == sorted((at for at, _ in order), reverse=True)
    assert list(rows[0]) == ["id", "uuid", "queue", "payload", "exception", "failed_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0]["failed_at"])


def test_s42_without_any(light: Filled, store: RedisServer) -> None:
    with Served(store.url, DATABASE_URL=light.url) as server:
        found = server.get("jobs/failed").json()
    assert (found["data"], found["from"], found["to"], found["last_page"]) == ([], None, None, 1)
    assert [link["label"] for link in found["links"]] == ["&laquo; Previous", "1", "Next &raquo;"]
    assert [link["url"] for link in found["links"]] == [None, found["first_page_url"], None]


def test_s43_s44_s45_s46_parameters_of_pages(light: Filled, store: RedisServer) -> None:
    light.jobs(20, "failed")
    with Served(store.url, DATABASE_URL=light.url) as server:
        for page in ("0", "abc", "", "-1"):
            assert server.get(f"jobs/failed?page={page}").json()["current_page"] == 1
        for page in (99, 2**63 - 1):
            beyond = server.get(f"jobs/failed?page={page}")
            assert beyond.status_code == 200
            assert (beyond.json()["data"], beyond.json()["from"], beyond.json()["to"]) == (
                *([], None, None),
            )
            assert beyond.json()["prev_page_url"] == f"{beyond.json()['path']}?page={page - 1}"
        for wrong, text in (
            ("0", "must be between 1 and 100"),
            ("101", "must be between 1 and 100"),
            ("x", "must be an integer"),
        ):
            answer = server.get(f"jobs/failed?per_page={wrong}")
            assert answer.status_code == 422
            sentence = f"The per page field {text}."
            assert answer.json() == {
                "status": "error",
                "message": sentence,
                "errors": {"per_page": [sentence]},
            }
        kept = server.get("jobs/failed?page=2&per_page=10&x=y").json()
        urls = [kept["first_page_url"], kept["last_page_url"], kept["prev_page_url"]]
        urls += [link["url"] for link in kept["links"] if link["url"]]
        assert all("?per_page=10&page=" in url for url in urls)
        many = server.get("jobs/failed?page=10&per_page=1").json()
    assert [link["label"] for link in many["links"]] == [
        *("&laquo; Previous", "1", "2", "...", "7", "8", "9", "10", "11", "12", "13", "..."),
        *("19", "20", "Next &raquo;"),
    ]
    assert [link["label"] for link in many["links"] if link["active"]] == ["10"]
    assert [link["page"] for link in many["links"] if link["label"] == "..."] == [None, None]


def test_s47_the_payload_is_json_as_text(light: Filled, store: RedisServer) -> None:
    arguments = {"args": [1], "kwargs": {"password": "[redacted]"}}
    (job,) = light.jobs(1, "failed", arguments=arguments)
    with Served(store.url, DATABASE_URL=light.url) as server:
        (row,) = server.get("jobs/failed").json()["data"]
    payload = json.loads(row["payload"])
    assert row["uuid"] == payload["uuid"] == job
    assert payload["displayName"] == "app.tasks.process_user"
    assert payload["job"] == "celery@call"
    assert payload["maxTries"] is None
    assert payload["data"]["command"] == arguments
