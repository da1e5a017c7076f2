"""Beats: what the store keeps of those who live, on every server, within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from jobmon.model import Beat
from jobmon.settings import Settings
from jobmon.store import beats
from jobmon.store.beats import Beats, Taken
from jobmon.store.connection import connect
from jobmon.store.keys import WRITER_RULES, Keys
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.store.histories import run_transition

KEYS = Keys("jobmon:")


@pytest.fixture
def send(client: Any) -> Iterator[Callable[..., Taken]]:
    client.flushall()
    sender = Beats(client, Settings())
    return lambda *given: sender.send(given)


def worker(name: str, body: bytes = b'{"name":"w"}', **changes: Any) -> Beat:
    return Beat("worker", name, body=body, **changes)


def test_a_worker_is_registered_with_its_body_and_the_servers_time(
    client: Any, send: Callable[..., Taken]
) -> None:
    seconds, microseconds = client.time()
    before = seconds * 1000 + microseconds // 1000
    assert send(worker("a"), worker("b", age_ms=5_000)) == Taken(2)
    assert client.hgetall(KEYS.workers) == {b"a": b'{"name":"w"}', b"b": b'{"name":"w"}'}
    score = {name: int(at) for name, at in client.zrange(KEYS.worker_beats, 0, -1, withscores=True)}
    assert 0 <= score[b"a"] - before < 5_000
    assert score[b"a"] - score[b"b"] == 5_000
    assert client.hget(KEYS.meta, "schema") == b"1"


def test_an_older_beat_does_not_turn_the_time_back(client: Any, send: Callable[..., Taken]) -> None:
    send(worker("a"))
    at = client.zscore(KEYS.worker_beats, "a")
    send(worker("a", age_ms=60_000))
    assert client.zscore(KEYS.worker_beats, "a") == at


def test_a_beat_without_a_body_keeps_the_one_there_is(
    client: Any, send: Callable[..., Taken]
) -> None:
    send(worker("a", b'{"busy":1}'))
    send(worker("a", b""))
    assert client.hget(KEYS.workers, "a") == b'{"busy":1}'
    send(worker("a", b"x" * (beats.MAX_BODY_BYTES + 1)))
    assert client.hget(KEYS.workers, "a") == b'{"busy":1}'


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
def test_who_ends_as_it_should_is_forgotten_at_once(
    kind: str, client: Any, send: Callable[..., Taken]
) -> None:
    send(Beat(kind, "a", body=b"{}"), Beat(kind, "b", body=b"{}"))
    assert client.hlen(f"jobmon:{kind}s") == client.zcard(f"jobmon:{kind}s:beats") == 2
    send(Beat(kind, "a", gone=True))
    assert (
        client.hkeys(f"jobmon:{kind}s") == client.zrange(f"jobmon:{kind}s:beats", 0, -1) == [b"b"]
    )


def test_only_a_run_that_runs_can_beat(client: Any, send: Callable[..., Taken]) -> None:
    writer = Writer(client, Settings())
    writer.apply([run_transition("p1", "running")])
    assert send(Beat("run", "p1"), Beat("run", "p2")) == Taken(1, 0, ("p2",))
    assert client.zrange(KEYS.run_beats, 0, -1) == [b"p1"]


def test_a_new_worker_takes_the_place_of_one_that_was_lost_but_never_of_one_that_beats(
    client: Any, send: Callable[..., Taken], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "MOST_WORKERS", 3)
    sender = Beats(client, Settings())
    assert sender.send([worker(name) for name in "abcd"]) == Taken(3, 1)
    assert client.hget(KEYS.recorder_totals, "overflow:worker") == b"1"
    assert sender.send([worker(name) for name in "abc"]) == Taken(3)
    client.zadd(KEYS.lost_workers, {"b": 2, "c": 1})
    assert sender.send([worker("d")]) == Taken(1)
    assert set(client.hkeys(KEYS.workers)) == {b"a", b"b", b"d"}
    assert set(client.zrange(KEYS.worker_beats, 0, -1)) == {b"a", b"b", b"d"}
    assert client.zrange(KEYS.lost_workers, 0, -1) == [b"b"]


def test_a_lost_worker_that_beats_again_is_lost_no_more(
    client: Any, send: Callable[..., Taken]
) -> None:
    send(worker("a"))
    client.zadd(KEYS.lost_workers, {"a": 1})
    send(worker("a"))
    assert not client.exists(KEYS.lost_workers)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("worker", beats.WORKER_FORGOTTEN_SECONDS),
        ("scheduler", beats.SCHEDULER_FORGOTTEN_SECONDS),
    ],
)
def test_who_is_silent_for_long_is_forgotten_by_the_next_beat_of_anyone(
    kind: str, seconds: int, client: Any, send: Callable[..., Taken]
) -> None:
    send(Beat(kind, "old", seconds * 1000 - 60_000, b"{}"), Beat(kind, "new", body=b"{}"))
    assert client.hlen(f"jobmon:{kind}s") == 2
    client.zincrby(f"jobmon:{kind}s:beats", -60_001, "old")
    send(worker("other"))
    assert client.hget(f"jobmon:{kind}s", "old") is None
    assert client.zscore(f"jobmon:{kind}s:beats", "old") is None
    assert client.hget(f"jobmon:{kind}s", "new") == b"{}"


def test_more_beats_than_one_call_takes_are_sent_in_several(
    client: Any, send: Callable[..., Taken], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beats, "MAX_BEATS", 2)
    assert send(*(Beat("run", f"p{number}") for number in range(5))) == Taken(
        0, 0, ("p0", "p1", "p2", "p3", "p4")
    )


def test_what_is_no_beat_is_left_out(client: Any, send: Callable[..., Taken]) -> None:
    odd = [Beat("planet", "a"), Beat("worker", ""), Beat("worker", "x" * 513)]
    assert send(*odd, worker("a", age_ms=-5)) == Taken(1)
    assert client.hkeys(KEYS.workers) == [b"a"]


def test_a_store_of_a_newer_schema_takes_no_beat(client: Any, send: Callable[..., Taken]) -> None:
    client.hset(KEYS.meta, "schema", 2)
    assert send(worker("a")) == Taken(0, 1)
    assert client.keys() == [KEYS.meta.encode()]


def test_the_script_is_loaded_again_after_a_flush_and_a_restart(own_server: RedisServer) -> None:
    defaults = Settings()
    settings = replace(defaults, redis=replace(defaults.redis, port=own_server.port))
    client = connect(settings)
    sender = Beats(client, settings)
    assert sender.send([worker("a")]).taken == 1
    client.flushall()
    client.script_flush()
    assert sender.send([worker("a")]).taken == 1
    own_server.restart()
    assert sender.send([worker("a")]).taken == 1


def test_the_documented_permissions_suffice(own_server: RedisServer) -> None:
    defaults = Settings()
    where = replace(defaults.redis, port=own_server.port, username="worker", password="secret")
    settings = replace(defaults, redis=where)
    with own_server.client() as admin:
        rules = ["on", ">secret", "~jobmon:*", *WRITER_RULES.split()]
        admin.execute_command("ACL", "SETUSER", "worker", *rules)
    sent = [worker("a"), Beat("scheduler", "b"), Beat("run", "c"), worker("d", gone=True)]
    assert Beats(connect(settings), settings).send(sent) == Taken(3, 0, ("c",))


def test_out_of_memory_and_a_key_of_another_type_refuse_all(own_server: RedisServer) -> None:
    with own_server.client() as client:
        sender = Beats(client, Settings())
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            sender.send([worker("a")])
        client.config_set("maxmemory", 0)
        assert client.dbsize() == 0
        client.set(KEYS.scheduler_beats, "not ours")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            sender.send([worker("a")])
        assert client.dbsize() == 1


def test_a_full_registry_is_beaten_for_in_bounded_time(
    client: Any, send: Callable[..., Taken]
) -> None:
    body = b'{"name":"%s"}' % (b"x" * 4_000)
    for start in range(0, beats.MOST_WORKERS, 100):
        send(*(worker(f"w{number}", body) for number in range(start, start + 100)))
    assert client.hlen(KEYS.workers) == beats.MOST_WORKERS
    fastest = 1.0
    for _ in range(20):
        before = time.perf_counter()
        send(worker("w7", body))
        fastest = min(fastest, time.perf_counter() - before)
    assert fastest < 0.02
