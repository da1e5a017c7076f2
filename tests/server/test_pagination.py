"""The paginator: windows of links, ends, and addresses."""

from __future__ import annotations

from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from jobmon.answers.paginator import Paginator
from jobmon.server.job_metrics import JobMetricsQuery
from jobmon.server.pagination import address, paginator, window
from jobmon.server.query import parse

AT = "https://your.app/api/job-monitor/job-metrics"


def page(query: str, rows: int, total: int) -> Paginator[int]:
    return paginator(AT, parse(JobMetricsQuery, query.encode()), list(range(rows)), total)


@pytest.mark.parametrize(
    ("current", "last", "shown"),
    [
        (1, 1, [1]),
        (5, 13, list(range(1, 14))),
        (1, 14, [*range(1, 11), None, 13, 14]),
        (7, 20, [*range(1, 11), None, 19, 20]),
        (8, 20, [1, 2, None, *range(5, 12), None, 19, 20]),
        (10, 20, [1, 2, None, *range(7, 14), None, 19, 20]),
        (13, 20, [1, 2, None, *range(10, 17), None, 19, 20]),
        (14, 20, [1, 2, None, *range(11, 21)]),
        (99, 20, [1, 2, None, *range(11, 21)]),
    ],
)
def test_the_window(current: int, last: int, shown: list[int | None]) -> None:
    assert window(current, last) == shown


@given(st.integers(1, 400), st.integers(1, 300))
def test_pages_of_the_window_rise_and_hold_the_ends(current: int, last: int) -> None:
    shown = [one for one in window(current, last) if one is not None]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (1, last)
    if current <= last:
        assert {max(1, current - 1), current, min(last, current + 1)} <= set(shown)


def test_its_keys_are_laravels_in_order() -> None:
    names = [one.name.rstrip("_") for one in fields(Paginator)]
    assert names == [
        *("current_page", "data", "first_page_url", "from", "last_page", "last_page_url"),
        *("links", "next_page_url", "path", "per_page", "prev_page_url", "to", "total"),
    ]


def test_nothing_found() -> None:
    found = asdict(page("", 0, 0))
    assert (found["from_"], found["to"], found["last_page"], found["total"]) == (None, None, 1, 0)
    assert found["first_page_url"] == found["last_page_url"] == f"{AT}?page=1"
    assert (found["next_page_url"], found["prev_page_url"]) == (None, None)
    assert found["links"] == [
        {"url": None, "label": "&laquo; Previous", "page": None, "active": False},
        {"url": f"{AT}?page=1", "label": "1", "page": 1, "active": True},
        {"url": None, "label": "Next &raquo;", "page": None, "active": False},
    ]


def test_beyond_the_last() -> None:
    found = page("page=99", 0, 95)
    assert (found.current_page, found.data, found.from_, found.to) == (99, [], None, None)
    assert found.prev_page_url == f"{AT}?page=98"
    assert found.next_page_url is None
    assert not any(link.active for link in found.links)


def test_the_last_one() -> None:
    found = page("page=5&per_page=20", 15, 95)
    assert (found.from_, found.to, found.last_page) == (81, 95, 5)
    assert found.next_page_url is None
    assert found.prev_page_url == f"{AT}?per_page=20&page=4"


def test_what_was_asked_is_in_every_address() -> None:
    found = page("page=2&x=1&status=failed&command=a%26b:c&per_page=1", 1, 3)
    start = f"{AT}?command=a%26b%3Ac&status=failed&per_page=1&page="
    assert found.path == AT
    assert found.first_page_url == f"{start}1"
    assert found.next_page_url == f"{start}3"
    assert [link.url for link in found.links] == [f"{start}{n}" for n in (1, 1, 2, 3, 3)]


@pytest.mark.parametrize(
    ("public_url", "shown"),
    [
        (None, "http://jobs.example:8765/mounted/api/jobs/failed"),
        ("https://ops.example/base", "https://ops.example/base/api/jobs/failed"),
    ],
)
def test_addresses_are_those_that_the_sender_can_reach(public_url: str | None, shown: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/mounted/api/jobs/failed",
        "root_path": "/mounted",
        "query_string": b"page=2",
        "headers": [(b"host", b"jobs.example:8765")],
    }
    assert address(Request(scope), public_url) == shown
