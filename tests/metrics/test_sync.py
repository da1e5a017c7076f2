"""Families of the way into the history."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from jobmon.metrics.catalogue import shared
from jobmon.model import Outcome
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.dead_letters import DeadLetters
from jobmon.store.keys import LEADER
from jobmon.store.lease import Lease
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.databases import made
from tests.history.copied import copies
from tests.metrics.conftest import Sampled
from tests.serving import Recorded


def test_what_waits_and_what_was_copied(
    recorded: Recorded, store: RedisServer, sampled: Sampled, tmp_path: Path
) -> None:
    assert sampled("jobmon_sync_unsynced") == 0
    assert sampled("jobmon_sync_oldest_unsynced_timestamp_seconds") is None
    assert sampled("jobmon_sync_last_success_timestamp_seconds") is None
    assert sampled("jobmon_sync_rows_total", table="failed_jobs") == 0
    run = recorded.run()
    run.jobs(3, Outcome.COMPLETED)
    run.jobs(2, Outcome.FAILED)
    run.end()
    assert sampled("jobmon_sync_unsynced") == 1
    assert sampled("jobmon_sync_failures_waiting") == 2
    oldest = sampled("jobmon_sync_oldest_unsynced_timestamp_seconds")
    assert oldest is not None
    assert abs(time.time() - oldest) < 60
    with made("sqlite", tmp_path) as one, copies(store, one) as history:
        history.sync(batch_size=2)
    assert sampled("jobmon_sync_unsynced") == 0
    assert sampled("jobmon_sync_oldest_unsynced_timestamp_seconds") is None
    assert sampled("jobmon_sync_rows_total", table="job_metrics") == 5
    assert sampled("jobmon_sync_rows_total", table="command_metrics") == 1
    ended = sampled("jobmon_sync_last_success_timestamp_seconds")
    assert ended is not None
    assert abs(time.time() - ended) < 60
    assert sampled("jobmon_sync_last_duration_seconds") is not None


def test_whether_copies_are_wanted_is_shown(recorded: Recorded, sampled: Sampled) -> None:
    assert sampled("jobmon_sync_enabled") == 1
    for given in ({"sync.enabled": False}, {"environment": "testing"}):
        off = load({"redis.url": recorded.settings.redis.url, **given}, environ={})
        with connection.connect(off) as client:
            page = shared(Reader(client, off), "a").page(openmetrics=False)
        assert b'jobmon_sync_enabled{app="a"} 0.0\n' in page


def test_what_is_lost_is_counted(recorded: Recorded, sampled: Sampled) -> None:
    assert sampled("jobmon_expired_unsynced_total") == 0
    assert sampled("jobmon_expired_failures_total") == 0
    with connection.connect(recorded.settings) as client:
        client.hset(
            "jobmon:totals:recorder", mapping={"expired_unsynced": 4, "expired_failures": 2}
        )
        letters = DeadLetters(client, recorded.settings)
        for number in range(3):
            letters.add("p", str(number), "it is no JSON", b"{")
        client.lpop("jobmon:dead-letters")
    assert sampled("jobmon_expired_unsynced_total") == 4
    assert sampled("jobmon_expired_failures_total") == 2
    assert sampled("jobmon_dead_letters_total") == 3
    assert sampled("jobmon_dead_letters_kept") == 2


def test_who_holds_a_lease_is_shown(recorded: Recorded, sampled: Sampled) -> None:
    own = {"lease": LEADER, "hostname": socket.gethostname(), "pid": str(os.getpid())}
    assert sampled("jobmon_lease_held", lease=LEADER) == 0
    assert sampled("jobmon_lease_info", **own) is None
    with connection.connect(recorded.settings) as client:
        assert Lease(client, recorded.settings).acquire() is not None
    assert sampled("jobmon_lease_held", lease=LEADER) == 1
    assert sampled("jobmon_lease_held", lease="sync") == 0
    assert sampled("jobmon_lease_info", **own) == 1
