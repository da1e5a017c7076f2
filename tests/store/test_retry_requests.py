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
    assert requests.note(token, RUN, after=9, error="no", pushed=1, refused=1)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after, found.error) == (
        *("ann", 3, 17, 9),
        "no",
    )
    assert found.finished_at is None
    assert requests.note(token, RUN, after=17, error="", pushed=1)
    assert requests.open() == []
    found = requests.of(RUN)
    assert found is not None
    assert (found.pushed, found.refused) == (2, 1)
    assert found.finished_at is not None
    assert found.requested_at <= found.finished_at
    assert 172_000 < client.ttl(KEYS.retry_request(RUN)) <= 172_800


def test_asked_again_meanwhile_it_is_extended_and_afterwards_made_anew(
    requests: RetryRequests, token: int
) -> None:
    requests.add(RUN, "ann", 3, 17)
    requests.note(token, RUN, after=9, error="", pushed=2)
    assert requests.add(RUN, "ben", 0, 17, since=17)
    assert requests.add(RUN, "ben", 2, 20, since=17)
    requests.note(token, RUN, after=17, error="", pushed=1)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after) == ("ann", 5, 20, 17)
    assert (found.pushed, found.finished_at) == (3, None)
    requests.note(token, RUN, after=20, error="", pushed=2)
    assert requests.add(RUN, "ben", 1, 21)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last, found.after) == ("ben", 1, 21, 0)
    assert (found.pushed, found.finished_at) == (0, None)


def test_what_was_counted_from_another_row_is_not_asked_for(
    requests: RetryRequests, token: int
) -> None:
    assert not requests.add(RUN, "ann", 3, 17, since=9)
    assert requests.add(RUN, "ann", 3, 17)
    assert not requests.add(RUN, "ben", 5, 20)
    assert not requests.add(RUN, "ben", 5, 20, since=16)
    requests.note(token, RUN, after=17, error="", pushed=3)
    assert not requests.add(RUN, "ben", 2, 20, since=17)
    found = requests.of(RUN)
    assert found is not None
    assert (found.who, found.requested, found.last) == ("ann", 3, 17)


def test_nobody_but_who_leads_tells_of_it(requests: RetryRequests, token: int) -> None:
    requests.add(RUN, "ann", 3, 17)
    assert not requests.note(token - 1, RUN, after=17, error="", pushed=3)
    found = requests.of(RUN)
    assert found is not None
    assert (found.after, found.pushed) == (0, 0)
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
