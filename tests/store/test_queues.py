"""What the server that leads tells of queues: bounded, fenced, and gone when it is old."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from jobmon.model import Beat
from jobmon.settings import Settings, load
from jobmon.store import queues as module
from jobmon.store.beats import Beats
from jobmon.store.keys import SCHEMA_VERSION, SYNC, Keys
from jobmon.store.lease import Lease
from jobmon.store.queues import QueueDepth, QueueDepths, Queues, read

KEYS = Keys("jobmon:")
SETTINGS = Settings()


@pytest.fixture
def depths(client: Any) -> QueueDepths:
    client.flushall()
    return QueueDepths(client, SETTINGS)


@pytest.fixture
def token(client: Any, depths: QueueDepths) -> int:
    token = Lease(client, SETTINGS).acquire()
    assert token is not None
    return token


def depth(queue: str, waiting: int = 1, oldest_at: float | None = None) -> QueueDepth:
    return QueueDepth("rq", queue, {"waiting": waiting, "failed": 0}, oldest_at)


def test_what_is_written_is_read_until_three_polls_were_missed(
    client: Any, depths: QueueDepths, token: int
) -> None:
    assert read(client, KEYS) == Queues()
    told = (depth("mail", 3, 1_790_000_000.5), depth("slow", 0))
    assert depths.write(token, "rq", told)
    found = read(client, KEYS)
    assert found.depths == told
    assert found.polled_at["rq"] == pytest.approx(time.time(), abs=30)
    assert list(found.polled_at) == ["rq"]
    assert 44_000 < client.pttl(KEYS.queue_depth("rq")) <= 45_000
    client.pexpire(KEYS.queue_depth("rq"), 1)
    while client.exists(KEYS.queue_depth("rq")):
        pass
    assert read(client, KEYS) == Queues((), found.polled_at)
    assert client.ttl(KEYS.queue_polled("rq")) > 600_000


def test_engines_are_told_of_apart(client: Any, depths: QueueDepths, token: int) -> None:
    celery = QueueDepth("celery", "mail", {"waiting": 1})
    depths.write(token, "celery", [celery])
    depths.write(token, "rq", [depth("mail")])
    depths.write(token, "rq", [])
    assert read(client, KEYS).depths == (celery,)


def test_who_leads_no_longer_writes_nothing(client: Any, depths: QueueDepths, token: int) -> None:
    client.delete(KEYS.lease("leader"))
    later = Lease(client, SETTINGS).acquire()
    assert later is not None
    assert depths.write(later, "rq", [depth("new")])
    assert not depths.write(token, "rq", [depth("old")])
    assert not depths.fail(token, "rq")
    assert [one.queue for one in read(client, KEYS).depths] == ["new"]
    assert not client.exists(KEYS.recorder_totals)
    # The lease of who syncs is no leader's.
    other = Lease(client, SETTINGS, SYNC).acquire()
    assert other is not None
    assert not depths.write(other, "rq", [])


def test_a_newer_store_is_left_alone(client: Any, depths: QueueDepths, token: int) -> None:
    client.hset(KEYS.meta, "schema", SCHEMA_VERSION + 1)
    assert not depths.write(token, "rq", [depth("mail")])
    assert read(client, KEYS) == Queues()


def test_failures_are_counted_and_hide_nothing_that_is_still_new(
    client: Any, depths: QueueDepths, token: int
) -> None:
    depths.write(token, "rq", [depth("mail")])
    before = read(client, KEYS)
    assert depths.fail(token, "rq")
    assert depths.fail(token, "rq")
    assert client.hget(KEYS.recorder_totals, "queue_errors:rq") == b"2"
    assert read(client, KEYS) == before


def test_many_queues_share_one_and_so_do_names_that_are_cut(
    client: Any, depths: QueueDepths, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_QUEUES", 2)
    long = "x" * 200
    depths.write(
        token,
        "rq",
        [
            depth("a\n", 1, 500.0),
            depth(long + "1", 2),
            depth("b", 4, 300.0),
            depth(long + "2", 8, 100.0),
            depth("c", 16, 200.0),
            QueueDepth("rq", "d", {"deferred": 32}),
        ],
    )
    assert read(client, KEYS).depths == (
        depth("a", 1, 500.0),
        depth("x" * 128, 10, 100.0),
        QueueDepth("rq", "other", {"waiting": 20, "failed": 0, "deferred": 32}, 200.0),
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"7", b'["a"]', b'[{"queue":1,"jobs":{}},{"queue":"a","jobs":[]}]'],
)
def test_nonsense_is_no_queue(client: Any, depths: QueueDepths, body: bytes) -> None:
    client.set(KEYS.queue_depth("rq"), body)
    client.set(KEYS.queue_polled("rq"), "soon")
    assert read(client, KEYS).depths == ()


def test_numbers_that_are_none_are_zeros_and_states_that_are_none_are_left_out(
    client: Any, depths: QueueDepths
) -> None:
    told = [{"queue": "a", "jobs": {"waiting": "x", "new": 1}, "oldest_at": "then"}]
    client.set(KEYS.queue_depth("rq"), json.dumps(told))
    assert read(client, KEYS).depths == (QueueDepth("rq", "a", {"waiting": 0}),)


def test_queues_are_known_from_jobs_workers_and_the_settings(
    client: Any, depths: QueueDepths
) -> None:
    client.hset(
        KEYS.job_series,
        mapping={
            "celery\x1fmail\x1ftasks.send": 1,
            "celery\x1fother\x1ftasks.send": 2,
            "celery\x1f\x1ftasks.eager": 3,
            "rq\x1fwork\x1fjobs.add": 4,
            "unknown": 5,
        },
    )
    served = {"engine": "celery", "name": "w", "queues": ["slow", "mail"]}
    gone = {"engine": "celery", "name": "v", "queues": ["gone"]}
    Beats(client, SETTINGS).send(
        [
            Beat("worker", "w", 0, json.dumps(served).encode()),
            Beat("worker", "v", 0, json.dumps(gone).encode()),
        ]
    )
    client.zadd(KEYS.lost_workers, {"v": 1})
    assert depths.known("celery") == ["mail", "slow"]
    assert depths.known("rq") == ["work"]
    given = QueueDepths(client, load({"queues": ["mail", "idle", "work"]}, environ={}))
    assert given.known("celery") == ["mail", "slow", "idle"]
    assert given.known("rq") == ["work", "idle"]


def test_a_queue_of_the_settings_is_none_of_rqs_where_nothing_tells_of_rq(
    client: Any, depths: QueueDepths
) -> None:
    def known(**more: str) -> list[str]:
        given = load({"queues": ["mail"], **more}, environ={})
        return QueueDepths(client, given).known("rq")

    assert known() == []
    assert QueueDepths(client, load({"queues": ["mail"]}, environ={})).known("celery") == ["mail"]
    assert known(**{"rq.redis_url": "redis://rq"}) == ["mail"]
    client.hset(KEYS.job_series, "rq\x1fwork\x1fjobs.add", 1)
    assert known() == ["work", "mail"]
