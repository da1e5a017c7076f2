"""Trouble with the server: either all of a batch is written, or nothing, and the next one works."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store.connection import connect
from jobmon.store.keys import WRITER_RULES, Keys
from jobmon.store.writer import Writer
from tests.store.histories import RUNS, run_transition, transition
from tests.store.reference import values

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
BATCH = [
    run_transition("p1", "running", beats=True),
    transition("p1", "a", Status.PENDING, stages=1),
    transition("p1", "b", Status.FAILED, error_type="KeyError"),
    transition("p1", "c", Status.PENDING, 1),
    transition("p1", "c", Status.COMPLETED, 2),
    transition("m", "n", Status.RETRYING),
    transition("m", "n", Status.FAILED, 2),
    transition("p1", "a", Status.COMPLETED, 1, stages=4),
    run_transition("p1", "completed"),
]


def settings_of(server: RedisServer, **where: Any) -> Settings:
    defaults = Settings()
    return replace(defaults, redis=replace(defaults.redis, port=server.port, **where))


def test_the_script_is_loaded_again_after_a_flush_and_a_restart(
    own_server: RedisServer,
) -> None:
    client = connect(settings_of(own_server))
    writer = Writer(client, Settings())
    assert writer.apply(BATCH).applied == len(BATCH)
    client.script_flush()
    assert writer.apply(BATCH).ignored == len(BATCH)
    client.flushall()
    assert writer.apply(BATCH).applied == len(BATCH)
    own_server.restart()
    assert writer.apply(BATCH).applied == len(BATCH)


def test_a_writers_client_fails_within_its_timeout_and_recovers(
    own_server: RedisServer,
) -> None:
    client = connect(settings_of(own_server), timeout=0.2)
    writer = Writer(client, Settings())
    assert own_server.process is not None
    pid = own_server.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            writer.apply(BATCH, {"full": 1})
        assert time.monotonic() - started < 1.5
    finally:
        os.kill(pid, signal.SIGCONT)
    # The stopped server may or may not have taken the batch; sent again, it is there once.
    _wait_for(client)
    writer.apply(BATCH)
    assert client.hget(KEYS.of("p1").metrics(RUNS["p1"]), "job_count") == b"3"
    own_server.stop()
    with pytest.raises(redis.ConnectionError):
        writer.apply(BATCH)


def _wait_for(client: Any) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            client.ping()
            return
        except redis.RedisError:
            assert time.monotonic() < deadline


def test_a_read_only_replica_refuses_all(own_server: RedisServer) -> None:
    with own_server.client() as client:
        writer = Writer(client, Settings())
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(redis.ResponseError, match="read only"):
            writer.apply(BATCH)
        client.replicaof("no", "one")
        assert client.dbsize() == 0
        assert writer.apply(BATCH).applied == len(BATCH)


def test_out_of_memory_refuses_all(own_server: RedisServer) -> None:
    with own_server.client() as client:
        writer = Writer(client, Settings())
        writer.apply(BATCH[:3])
        before = values(client)
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            writer.apply(BATCH)
        assert values(client) == before
        client.config_set("maxmemory", 0)
        assert writer.apply(BATCH).applied == len(BATCH) - 3


@pytest.mark.parametrize(
    "rules",
    [
        "~* +@all -evalsha -eval",
        "~app:* +@all",
        "~* +@read +@connection +evalsha +eval +time",
    ],
)
def test_a_user_without_permission_writes_nothing(rules: str, own_server: RedisServer) -> None:
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "worker", "on", ">secret", *rules.split())
        client = connect(settings_of(own_server, username="worker", password="secret"))
        writer = Writer(client, Settings())
        with pytest.raises(redis.ResponseError, match=r"permission|can't run"):
            writer.apply(BATCH)
        assert admin.dbsize() == 0
        admin.execute_command("ACL", "SETUSER", "worker", "resetkeys", "~jobmon:*", "+@all")
        assert writer.apply(BATCH).applied == len(BATCH)


def test_the_documented_permissions_suffice(own_server: RedisServer) -> None:
    with own_server.client() as admin:
        rules = ["on", ">secret", "~jobmon:*", *WRITER_RULES.split()]
        admin.execute_command("ACL", "SETUSER", "worker", *rules)
        client = connect(settings_of(own_server, username="worker", password="secret"))
        assert Writer(client, Settings()).apply(BATCH).applied == len(BATCH)


def test_a_wrong_password_is_trouble(own_server: RedisServer) -> None:
    client = connect(settings_of(own_server, username="nobody", password="wrong"))
    with pytest.raises(redis.AuthenticationError):
        Writer(client, Settings()).apply(BATCH)


FIXED = [
    *(KEYS.meta, KEYS.job_series, KEYS.command_series, KEYS.error_series, KEYS.job_names),
    *(KEYS.queues, KEYS.error_types, KEYS.job_totals, KEYS.command_totals, KEYS.recorder_totals),
    *(KEYS.unsynced, KEYS.drained, KEYS.failures, KEYS.failed, KEYS.running, KEYS.finished),
    *(
        KEYS.finished_by_time,
        KEYS.open_runs,
        KEYS.run_beats,
        KEYS.pending(1),
        KEYS.newest_run(RUNS["p1"]),
    ),
]
OWN = KEYS.of("p1")
OF_RUN = [OWN.jobs, OWN.metrics(RUNS["p1"]), OWN.attempts, OWN.unsynced]
OF_JOB = [KEYS.job("n"), KEYS.job_attempts("n"), KEYS.of("m").manual]


@pytest.mark.parametrize("key", [*FIXED, *OF_RUN, *OF_JOB])
def test_a_key_of_another_type_stops_what_needs_it_and_leaves_nothing_half_done(
    key: str, store: RedisServer
) -> None:
    needed = [[one] for one in BATCH]
    with store.client() as client:
        writer = Writer(client, Settings())
        client.execute_command("XADD", key, "1-1", "not", "ours")
        refused = 0
        for batch in needed:
            before = snapshot_without(client, key)
            applied = writer.apply(batch)
            if applied.malformed:
                assert snapshot_without(client, key) == before
                refused += 1
        assert refused
        client.delete(key)
        again = writer.apply(BATCH)
        assert again.malformed == 0
        dropped = client.hget(KEYS.recorder_totals, "dropped:script_error")
        assert int(dropped or 0) == refused
        metrics = client.hgetall(OWN.metrics(RUNS["p1"]))
        assert metrics[b"job_count"] == b"3"
        assert (metrics[b"failed_jobs"], metrics[b"success_jobs"]) == (b"1", b"2")


def snapshot_without(client: Any, key: str) -> dict[str, Any]:
    kept = client.dump(key)
    client.delete(key)
    found = values(client)
    client.restore(key, 0, kept)
    return found


def test_a_key_of_another_type_costs_only_its_own_run(store: RedisServer) -> None:
    with store.client() as client:
        client.set(OWN.jobs, "not ours")
        batch = [transition(pid, f"job{at}", Status.PENDING) for at in range(9) for pid in RUNS]
        applied = Writer(client, Settings()).apply(batch, {"full": 7})
        assert (applied.applied, applied.malformed) == (9, 9)
        totals = client.hgetall(KEYS.recorder_totals)
        assert totals[b"dropped:full"] == b"7"


def test_a_store_of_a_newer_schema_is_not_written(store: RedisServer) -> None:
    with store.client() as client:
        client.hset(KEYS.meta, "schema", 2)
        applied = Writer(client, Settings()).apply(BATCH, {"full": 1})
        assert applied.refused == len(BATCH)
        assert applied.applied == 0
        assert client.keys() == [KEYS.meta.encode()]


def test_an_unknown_head_keeps_its_place_in_the_order(store: RedisServer) -> None:
    with store.client() as client:
        newer = b'{"status":"completed","attempt":2,"y":[1],"v":1}'
        client.hset(OWN.jobs, "job", newer)
        writer = Writer(client, Settings())
        assert writer.apply([transition("p1", "job", Status.PENDING, 1)]).applied == 0
        assert writer.apply([transition("p1", "job", Status.FAILED, 2)]).applied == 0
        assert client.hget(OWN.jobs, "job") == newer
        assert writer.apply([transition("p1", "job", Status.PENDING, 3)]).applied == 1
        assert client.hget(OWN.attempts, "job:2") == newer
        client.hset(OWN.jobs, "junk", b"\x00\xff no record")
        assert writer.apply([transition("p1", "junk", Status.PENDING)]).applied == 1
