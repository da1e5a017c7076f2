"""Requests to run all failed jobs of a run again: kept, told of by who leads, extended."""

from __future__ import annotations

from typing import Any

import pytest

from jobmon.settings import Settings
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.lease import Lease
from jobmon.store.retry_requests import RetryRequests

KEYS = Keys("jobmon:")
RUN = "71c40000-0000-4000-8000-000000000002"


@pytest.fixture
def requests(client: Any) -> RetryRequests:
    client.flushall()
    return RetryRequests(client, Settings())


@pytest.fixture
def token(client: Any, requests: RetryRequests) -> int:
    token = Lease(client, Settings()).acquire()
    assert token is not None
    return token


def test_a_request_is_kept_until_it_is_finished_and_then_still_shown(
    client: Any, requests: RetryRequests, token: int
) -> None:
    requests.add(RUN, "ann", 3, 17)
    assert requests.open() == [RUN]
    assert requests.note(token, RUN, after=9, error="no")
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after, found.error) == (
        *("ann", 3, 17, 9),
        "no",
    )
    assert found.finished_at is None
    assert requests.note(token, RUN, after=17, error="", finished=True)
    assert requests.open() == []
    found = requests.of(RUN)
    assert found is not None
    assert found.finished_at is not None
    assert found.requested_at <= found.finished_at
    assert 172_000 < client.ttl(KEYS.retry_request(RUN)) <= 172_800


def test_asked_again_meanwhile_it_is_extended_and_afterwards_made_anew(
    requests: RetryRequests, token: int
) -> None:
    requests.add(RUN, "ann", 3, 17)
    requests.note(token, RUN, after=9, error="")
    requests.add(RUN, "ben", 3, 17)
    requests.add(RUN, "ben", 2, 20)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after) == ("ann", 2, 20, 9)
    requests.note(token, RUN, after=20, error="", finished=True)
    requests.add(RUN, "ben", 1, 21)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after) == ("ben", 1, 21, 0)
    assert found.finished_at is None


def test_nobody_but_who_leads_tells_of_it(requests: RetryRequests, token: int) -> None:
    requests.add(RUN, "ann", 3, 17)
    assert not requests.note(token - 1, RUN, after=17, error="", finished=True)
    found = requests.of(RUN)
    assert found is not None
    assert found.after == 0
    assert requests.open() == [RUN]


def test_one_that_is_forgotten_waits_no_more(
    client: Any, requests: RetryRequests, token: int
) -> None:
    requests.add(RUN, "ann", 3, 17)
    client.delete(KEYS.retry_request(RUN))
    assert requests.of(RUN) is None
    assert not requests.note(token, RUN, after=0, error="")
    assert requests.open() == []


def test_a_newer_store_is_left_alone(client: Any, requests: RetryRequests) -> None:
    client.hset(KEYS.meta, "schema", SCHEMA_VERSION + 1)
    requests.add(RUN, "ann", 3, 17)
    assert requests.of(RUN) is None
