"""What is told of a push before it happens, and what can be concluded from it afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.pushes import Came, Pushes

KEYS = Keys("jobmon:")


@pytest.fixture
def pushes(client: Any) -> Pushes:
    client.flushall()
    pushes = Pushes(client, Settings())
    pushes.open("token", 1_000_000)
    return pushes


def test_whoever_has_not_begun_is_stopped_by_the_question(pushes: Pushes) -> None:
    assert pushes.take_over("token", "run", "a") is Came.NOWHERE
    assert not pushes.begin("token", "run", "a")
    assert pushes.begin("token", "run", "b")


def test_who_has_begun_may_have_pushed(pushes: Pushes) -> None:
    assert pushes.begin("token", "run", "a")
    assert not pushes.begin("token", "run", "a")
    assert pushes.take_over("token", "run", "a") is Came.FAR
    assert pushes.take_over("token", "other", "a") is Came.NOWHERE


def test_a_store_that_has_lost_it_knows_nothing(client: Any, pushes: Pushes) -> None:
    client.flushall()
    assert pushes.take_over("token", "run", "a") is Came.UNKNOWN
    assert client.dbsize() == 0


def test_of_a_holder_and_who_takes_over_one_has_its_way(pushes: Pushes) -> None:
    def race(job_id: str) -> bool:
        with ThreadPoolExecutor(2) as pool:
            begun = pool.submit(pushes.begin, "token", "run", job_id)
            came = pool.submit(pushes.take_over, "token", "run", job_id)
        return begun.result() is (came.result() is Came.FAR)

    assert all(race(str(number)) for number in range(50))


def test_claims_are_listed_until_they_are_settled_and_forgotten_in_their_time(
    client: Any, pushes: Pushes
) -> None:
    pushes.open("younger", 2_000_000)
    assert pushes.older_than(1_000_000) == []
    assert pushes.older_than(2_000_000) == ["token"]
    assert client.ttl(KEYS.pushes("token")) > 172_000
    pushes.leave("token")
    assert pushes.older_than(3_000_000) == ["younger"]
    assert pushes.begin("token", "run", "a")
    pushes.close("younger")
    pushes.close("token")
    assert client.dbsize() == 0
