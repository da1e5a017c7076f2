"""Who leads believes it no longer than the store does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jobmon.server.leader import Leader
from jobmon.settings import Settings, load
from jobmon.store import connection
from jobmon.store.lease import Lease
from tests.conftest import RedisServer
from tests.serving import until

SECONDS = 2.0


def settings_of(store: RedisServer) -> Settings:
    return load({"redis.url": store.url}, environ={})


@contextmanager
def leading(store: RedisServer) -> Iterator[Leader]:
    leader = Leader(settings_of(store), SECONDS)
    leader.start()
    try:
        until(lambda: leader.token is not None)
        yield leader
    finally:
        leader.stop()


def test_it_keeps_its_token_and_gives_it_back(store: RedisServer) -> None:
    with connection.connect(settings_of(store)) as client:
        lease = Lease(client, settings_of(store))
        with leading(store) as leader:
            first = leader.token
            renewed = threading.Event()
            renewed.wait(2 * SECONDS)
            assert leader.token == first
            assert lease.acquire() is None
        assert leader.token is None
        assert lease.acquire() is not None


def test_of_two_one_leads_and_the_other_follows_it(store: RedisServer) -> None:
    other = Leader(settings_of(store), SECONDS)
    with leading(store) as leader:
        other.start()
        first = leader.token
        assert other.token is None
    until(lambda: other.token is not None)
    assert (other.token or 0) > (first or 0)
    other.stop()


def test_while_the_store_does_not_answer_nobody_leads(own_redis_server: RedisServer) -> None:
    assert own_redis_server.process is not None
    with leading(own_redis_server) as leader:
        first = leader.token
        own_redis_server.process.send_signal(signal.SIGSTOP)
        until(lambda: leader.token is None, 3 * SECONDS)
        own_redis_server.process.send_signal(signal.SIGCONT)
        until(lambda: leader.token is not None)
        assert (leader.token or 0) >= (first or 0)  # the store may have been about to end it


def test_who_was_robbed_of_the_lease_asks_for_it_anew(store: RedisServer) -> None:
    with leading(store) as leader, store.client() as client:
        first = leader.token or 0
        client.delete("jobmon:lease:leader")
        until(lambda: (leader.token or 0) > first)


def test_one_that_never_started_can_be_stopped(store: RedisServer) -> None:
    Leader(settings_of(store)).stop()
