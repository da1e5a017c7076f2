"""Buckets of tokens: what is granted, shared through Redis and in one process alike."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobmon.store import buckets
from jobmon.store.buckets import LocalBuckets, SharedBuckets, Size, Wish
from tests.conftest import RedisServer
from tests.serving import until

SLOW = Size(per_minute=1, most=5)
QUICK = Size(per_minute=60_000, most=5)


@pytest.fixture
def shared(store: RedisServer) -> SharedBuckets:
    return SharedBuckets(store.client(), "jobmon:")


def test_a_bucket_grants_what_it_holds_and_says_when_more_comes(shared: SharedBuckets) -> None:
    levels = [shared.take([Wish("api", "ann", SLOW)])[0] for _ in range(7)]
    assert [level.granted for level in levels] == [True] * 5 + [False] * 2
    assert [level.remaining for level in levels] == [4, 3, 2, 1, 0, 0, 0]
    assert {level.wait_seconds for level in levels[:5]} == {0.0}
    assert all(59 < level.wait_seconds <= 60 for level in levels[5:])
    assert 299 < levels[-1].full_in_seconds <= 300
    assert shared.take([Wish("api", "ben", SLOW)])[0].granted
    assert shared.take([Wish("failures", "ann", SLOW)])[0].granted


def test_it_fills_with_time_and_no_further_than_full(shared: SharedBuckets) -> None:
    wish = Wish("api", "ann", QUICK, 5)
    assert shared.take([wish])[0].granted
    until(lambda: shared.take([wish])[0].granted)
    (level,) = shared.take([wish._replace(tokens=-3)])
    assert level.remaining >= 3
    until(lambda: shared.take([wish._replace(tokens=-1)])[0].remaining == 5)


def test_what_is_given_back_can_be_taken_again(shared: SharedBuckets) -> None:
    wish = Wish("api", "ann", SLOW)
    shared.take([wish] * 5)
    given_back, again, refused = shared.take([wish._replace(tokens=-1), wish, wish])
    assert (given_back.remaining, again.granted, refused.granted) == (1, True, False)


def test_a_wish_for_more_than_it_holds_takes_all_of_it(shared: SharedBuckets) -> None:
    wish = Wish("api", "ann", SLOW, 100)
    granted, refused = shared.take([wish, wish])
    assert (granted.granted, granted.remaining) == (True, 0)
    assert not refused.granted
    assert 299 < refused.wait_seconds <= 300


def test_a_full_bucket_leaves_no_key(store: RedisServer, shared: SharedBuckets) -> None:
    with store.client() as client:
        shared.take([Wish("api", "ann", SLOW, 2)])
        assert 110_000 < client.pttl("jobmon:rate:api:ann") <= 120_001
        shared.take([Wish("api", "ben", QUICK)])
        until(lambda: not client.exists("jobmon:rate:api:ben"))


def test_a_clock_that_went_back_empties_a_bucket_and_no_more(
    store: RedisServer, shared: SharedBuckets
) -> None:
    with store.client() as client:
        client.set("jobmon:rate:api:ann", int((time.time() + 86_400) * 1e6))
    (level,) = shared.take([Wish("api", "ann", SLOW)])
    assert not level.granted
    assert level.wait_seconds == 60


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.builds(
            Wish,
            st.sampled_from(["api", "failures"]),
            st.sampled_from(["ann", "ben"]),
            st.builds(Size, st.integers(1, 50), st.integers(1, 9)),
            st.integers(-3, 12).filter(bool),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_redis_and_a_process_count_alike(store: RedisServer, wishes: list[Wish]) -> None:
    with store.client() as client:
        client.flushall()
        # Time stands still during one call.
        found = SharedBuckets(client, "jobmon:").take(wishes)
    local = LocalBuckets()
    assert found == [local.take(wish, 7_000_000) for wish in wishes]


def test_a_process_refuses_by_itself_only_what_redis_refused(shared: SharedBuckets) -> None:
    local, wish = LocalBuckets(), Wish("api", "ann", SLOW, 5)
    assert local.refusal(wish, 0) is None
    (level,) = shared.take([wish])
    local.follow(wish, level, 0)
    refused = local.refusal(wish, 10_000_000)
    assert refused is not None
    assert 289 < refused.wait_seconds <= 290
    assert local.refusal(wish, 300_000_000) is None
    assert local.take(wish, 300_000_000).granted
    assert not local.take(wish, 301_000_000).granted


def test_a_process_remembers_those_who_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_MOST_LOCAL", 3)
    local = LocalBuckets()
    for who in "abcd":
        local.take(Wish("api", who, SLOW, 5), 0)
    refused = [local.refusal(Wish("api", who, SLOW), 0) is not None for who in "abcd"]
    assert refused == [False, True, True, True]
