"""One holder at a time, a token that only grows, and nothing for who comes late."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from jobmon.settings import Settings
from jobmon.store.connection import connect
from jobmon.store.keys import WRITER_RULES, Keys
from jobmon.store.lease import LEADER, SYNC, Lease
from tests.store.test_trouble import settings_of

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
SETTINGS = Settings()


@pytest.fixture
def lease(client: Any) -> Lease:
    client.flushall()
    return Lease(client, SETTINGS)


def expire(client: Any, name: str = LEADER) -> None:
    """What time does to a lease that nobody renews."""
    client.pexpireat(KEYS.lease(name), 1)


def test_one_holds_it_and_says_who(client: Any, lease: Lease) -> None:
    token = lease.acquire()
    assert token is not None
    assert lease.acquire() is None
    assert Lease(client, SETTINGS).acquire() is None
    holder = lease.holder()
    assert holder is not None
    assert (holder.pid, holder.token) == (os.getpid(), token)
    assert holder.host
    assert abs(holder.since - time.time()) < 60
    assert 0 < client.pttl(KEYS.lease(LEADER)) <= 10_000


def test_it_is_renewed_by_its_holder_alone(client: Any, lease: Lease) -> None:
    token = lease.acquire()
    assert token is not None
    client.pexpire(KEYS.lease(LEADER), 5_000)
    assert lease.renew(token)
    assert client.pttl(KEYS.lease(LEADER)) > 5_000
    assert not lease.renew(token - 1)
    assert not lease.release(token - 1)
    expire(client)
    assert not lease.renew(token)
    assert lease.holder() is None
    assert not client.exists(KEYS.lease(LEADER))


def test_it_is_free_once_it_was_released_or_ran_out(client: Any, lease: Lease) -> None:
    first = lease.acquire()
    assert first is not None
    assert lease.release(first)
    second = lease.acquire()
    assert second is not None
    expire(client)
    third = lease.acquire()
    assert third is not None
    assert first < second < third


def test_a_token_grows_after_a_flush_and_when_the_clock_was_set_back(
    client: Any, lease: Lease
) -> None:
    first = lease.acquire()
    client.flushall()
    second = lease.acquire()
    assert first is not None
    assert second is not None
    assert second > first
    future = second + 10**12
    client.hset(KEYS.meta, "lease_token", future)
    expire(client)
    assert lease.acquire() == future + 1


def test_leases_of_two_names_do_not_share_a_token(client: Any, lease: Lease) -> None:
    other = Lease(client, SETTINGS, SYNC)
    one, two = lease.acquire(), other.acquire()
    assert one is not None
    assert two is not None
    assert one != two
    assert not other.renew(one)
    assert not lease.release(two)


def test_of_many_at_once_one_gets_it(client: Any, lease: Lease) -> None:
    together = threading.Barrier(6)
    found: list[int | None] = []

    def take() -> None:
        together.wait()
        found.append(lease.acquire())

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in found) == 1


def test_a_newer_store_gives_no_lease(client: Any, lease: Lease) -> None:
    client.hset(KEYS.meta, "schema", 99)
    assert lease.acquire() is None
    assert client.keys() == [KEYS.meta.encode()]


def test_what_is_no_lease_of_ours_is_no_holder_that_breaks_anything(
    client: Any, lease: Lease
) -> None:
    client.hset(KEYS.lease(LEADER), mapping={"token": "x", "since": "y"})
    holder = lease.holder()
    assert holder is not None
    assert (holder.token, holder.pid, holder.since) == (0, 0, 0.0)
    assert lease.acquire() is None


def test_it_needs_no_more_rights_than_who_records(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">secret", "~jobmon:*", *WRITER_RULES.split()
        )
    with connect(settings_of(own_server, username="worker", password="secret")) as own:
        lease = Lease(own, SETTINGS)
        token = lease.acquire()
        assert token is not None
        assert lease.renew(token)
        assert lease.holder() is not None
        assert lease.release(token)
