"""The stream takes each event once, and forgets no faster than anybody tries again."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import redis

from jobmon.settings import Settings
from jobmon.store import events as module
from jobmon.store.events import Events
from jobmon.store.keys import WRITER_RULES

SETTINGS = Settings()
STREAM, ADDED = "jobmon:anomalies:events", "jobmon:anomalies:added"


@pytest.fixture
def events(client: Any) -> Events:
    client.flushall()
    return Events(client, SETTINGS)


def test_each_event_is_added_and_published_once(client: Any, events: Events) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(STREAM)
        heard.get_message(timeout=5)
        assert events.add("a", '{"id":"a"}')
        assert not events.add("a", '{"id":"a"}')
        assert events.add("b", "{}")
        said = [heard.get_message(timeout=5) for _ in range(2)]
        assert [one["data"] for one in said] == [b'{"id":"a"}', b"{}"]
        assert heard.get_message(timeout=0.1) is None
    assert [fields for _, fields in client.xrange(STREAM)] == [
        {b"id": b"a", b"event": b'{"id":"a"}'},
        {b"id": b"b", b"event": b"{}"},
    ]
    assert client.pttl(STREAM) == -1


def test_of_many_at_once_one_adds(client: Any, events: Events) -> None:
    added: list[bool] = []

    def add() -> None:
        added.extend(events.add(f"e{at}", "{}") for at in range(100))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == client.xlen(STREAM) == 100


def test_both_are_bounded(client: Any, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LENGTH", 100)
    monkeypatch.setattr(module, "MOST_REMEMBERED", 50)
    for at in range(500):
        assert events.add(f"e{at}", "{}")
    assert 100 <= client.xlen(STREAM) < 300
    assert client.zcard(ADDED) == 50
    assert not events.add("e450", "{}")
    old = (time.time() - module.REMEMBERED_SECONDS - 60) * 1000
    client.zadd(ADDED, {"e499": old})
    assert not events.add("e499", "{}")
    assert events.add("new", "{}")
    assert client.zscore(ADDED, "e499") is None


def test_a_store_that_refuses_adds_nothing(client: Any, events: Events) -> None:
    client.set(ADDED, "somebody's")
    with pytest.raises(redis.RedisError):
        events.add("a", "{}")
    assert not client.exists(STREAM)
    client.delete(ADDED)
    client.set(STREAM, "somebody's")
    with pytest.raises(redis.RedisError):
        events.add("a", "{}")
    assert not client.exists(ADDED)


@pytest.mark.parametrize("may_publish", [True, False])
def test_the_documented_rights_are_enough_and_the_channel_is_none_of_them(
    client: Any, events: Events, may_publish: bool
) -> None:
    channel = "+publish &jobmon:*" if may_publish else "resetchannels"
    rules = f"on >p ~jobmon:* {WRITER_RULES} +@stream {channel}".split()
    client.execute_command("ACL", "SETUSER", "publisher", "reset", *rules)
    pool = client.connection_pool.connection_kwargs
    with redis.Redis(
        host=pool["host"], port=pool["port"], username="publisher", password="p"
    ) as own:
        assert Events(own, SETTINGS).add("a", "{}")
        assert not Events(own, SETTINGS).add("a", "{}")
    client.execute_command("ACL", "DELUSER", "publisher")
