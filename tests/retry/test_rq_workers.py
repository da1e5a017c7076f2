"""Failed jobs of RQ run again, on real workers, with RQ's hash or without it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobmon.instrument.context import HEADER, JobContext
from jobmon.retry.errors import (
    MessageMissingError,
    NotConfiguredError,
    NotFailedError,
    QueueUnavailable,
)
from jobmon.retry.retrier import Retrier
from jobmon.settings import load
from tests.conftest import RedisServer
from tests.live.rq_fixtures import CLASSES, Run, command, rq_worker, wait_for
from tests.retry.failing import Failing

pytestmark = pytest.mark.live


@pytest.fixture
def rq(store: RedisServer) -> Iterator[Any]:
    """RQ's database, without RQ."""
    with store.client(db=1) as client:
        yield client


def failed(failing: Failing, run: Run, outcome: str = "failed") -> str:
    """The only job of a run, once it is in the table."""
    (record,) = run.reached(1, {"failed", "lost"}).values()
    assert record["outcome"] == outcome
    wait_for(lambda: failing.copies.copy_failures().failed, "its row")
    return record["id"]


def completes(run: Run, job_id: str) -> None:
    (record,) = run.reached(1, {"completed"}).values()
    assert (record["id"], record["attempt"], record["retried_by"]) == (job_id, 2, "ann")
    run.check_counters()


@pytest.mark.parametrize("has_expired", [False, True])
@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_failed_job_runs_again(
    failing: Failing, rq: Any, tmp_path: Path, kind: str, has_expired: bool
) -> None:
    with rq_worker(failing.server, tmp_path, kind=kind):
        body = "queue.enqueue(jobs.flaky, 1, meta={'mine': [1]})"
        run = Run(failing.server, command(failing.server, body))
        job_id = failed(failing, run)
        meta = rq.hget(f"rq:job:{job_id}", "meta")
        wait_for(lambda: rq.zcard("rq:failed:work"), "RQ has it among its failed ones")
        if has_expired:
            rq.delete(f"rq:job:{job_id}")
        failing.retrier().retry(job_id, "ann")
        completes(run, job_id)
    assert rq.hget(f"rq:job:{job_id}", "meta") == meta
    assert rq.zscore("rq:failed:work", job_id) is None
    assert failing.rows() == []


def test_a_job_of_a_killed_horse_runs_again(failing: Failing, tmp_path: Path) -> None:
    with rq_worker(failing.server, tmp_path):
        run = Run(
            failing.server, command(failing.server, "queue.enqueue(jobs.kill_itself_once, 'x')")
        )
        job_id = failed(failing, run, "lost")
        failing.retrier().retry(job_id, "ann")
        completes(run, job_id)


def test_a_job_of_another_serializer_runs_again(failing: Failing, tmp_path: Path) -> None:
    serializer = "rq.serializers.JSONSerializer"
    body = f"Queue('work', connection=connection, serializer={serializer!r}).enqueue(jobs.flaky, 1)"
    with rq_worker(failing.server, tmp_path, "--serializer", serializer):
        run = Run(failing.server, command(failing.server, body))
        job_id = failed(failing, run)
        failing.retrier().retry(job_id, "ann")
        completes(run, job_id)


def test_without_a_message_rqs_own_hash_is_gone_on_with_while_it_lives(
    failing: Failing, tmp_path: Path
) -> None:
    address = failing.server.url.rsplit("/", 1)[0] + "/1"
    given = {"redis.url": failing.server.url, "rq.redis_url": address}
    retrier = Retrier(failing.client, failing.engine, load(given, environ={}))
    with rq_worker(failing.server, tmp_path, JOB_MONITOR_FAILED_STORE_MESSAGE="false"):
        run = Run(failing.server, command(failing.server, "queue.enqueue(jobs.flaky, 1)"))
        job_id = failed(failing, run)
        assert failing.rows()[0]["message"] is None
        with pytest.raises(MessageMissingError):
            failing.retrier().retry(job_id, "ann")  # it looks elsewhere
        retrier.retry(job_id, "ann")
        completes(run, job_id)


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_is_unpickled(failing: Failing, rq: Any) -> None:
    bomb = pickle.dumps(Bomb())
    with pytest.raises(SystemExit):
        pickle.loads(bomb)
    run = failing.run()
    (job_id,) = failing.fail(run, engine="rq", queue="work")
    key = f"rq:job:{job_id}"
    rq.hset(key, mapping={"status": "failed", "data": bomb, "meta": bomb})
    failing.retrier().retry(job_id, "ann")
    assert rq.hmget(key, "data", "meta", "status") == [bomb, bomb, b"queued"]
    assert rq.lrange("rq:queue:work", 0, -1) == [job_id.encode()]


@pytest.mark.parametrize("status", ["queued", "scheduled", "deferred", "started"])
def test_a_job_that_rq_has_in_hand_is_not_enqueued_twice(
    failing: Failing, rq: Any, status: str
) -> None:
    (job_id,) = failing.fail(failing.run(), engine="rq", queue="work")
    rq.hset(f"rq:job:{job_id}", mapping={"status": status, "data": b"x"})
    rq.zadd("rq:wip:work", {f"{job_id}:1": time.time() + 60})
    with pytest.raises(NotFailedError):
        failing.retrier().retry(job_id, "ann")
    assert rq.llen("rq:queue:work") == 0


def test_a_job_whose_worker_has_fallen_silent_is_taken_out_of_its_hands(
    failing: Failing, rq: Any
) -> None:
    (job_id,) = failing.fail(failing.run(), engine="rq", queue="work")
    rq.hset(f"rq:job:{job_id}", mapping={"status": "started", "data": b"x"})
    rq.zadd("rq:wip:work", {f"{job_id}:1": time.time() - 60, f"{job_id}0:1": 1})
    failing.retrier().retry(job_id, "ann")
    assert rq.zrange("rq:wip:work", 0, -1) == [f"{job_id}0:1".encode()]
    assert rq.lrange("rq:queue:work", 0, -1) == [job_id.encode()]


def test_a_hash_lives_as_long_as_rq_would_have_it(failing: Failing, rq: Any) -> None:
    run = failing.run()
    with_ttl, without = failing.fail(run, 2, engine="rq", queue="work")
    for job_id, ttl in ((with_ttl, {"ttl": 300}), (without, {})):
        rq.hset(f"rq:job:{job_id}", mapping={"status": "failed", "data": b"x", **ttl})
        rq.expire(f"rq:job:{job_id}", 5)
        failing.retrier().retry(job_id, "ann")
    assert 290 < rq.ttl(f"rq:job:{with_ttl}") <= 300
    assert rq.ttl(f"rq:job:{without}") == -1


def test_deleting_takes_rqs_own_failed_job_too(failing: Failing, rq: Any) -> None:
    run = failing.run()
    kept, gone = failing.fail(run, 2, engine="rq", queue="work")
    for job_id in (kept, gone):
        rq.hset(f"rq:job:{job_id}", mapping={"status": "failed", "data": b"x"})
    rq.zadd("rq:failed:work", {gone: 2e9})
    for job_id in (kept, gone):
        failing.retrier().delete(job_id)
    assert [rq.exists(f"rq:job:{job_id}") for job_id in (kept, gone)] == [1, 0]
    assert rq.zcard("rq:failed:work") == 0


def test_a_server_that_does_not_know_the_queue_is_not_rqs(failing: Failing, rq: Any) -> None:
    (job_id,) = failing.fail(failing.run(), engine="rq", queue="work")
    with pytest.raises(NotConfiguredError, match=r"set rq\.redis_url\.$"):
        failing.retrier().retry(job_id, "ann")
    assert rq.dbsize() == 0
    assert failing.rows()[0]["claimed_by"] is None


def test_rqs_own_server_is_asked_where_it_is_set(
    failing: Failing, rq: Any, own_redis_server: RedisServer
) -> None:
    run = failing.run()
    first, second = failing.fail(run, 2, engine="rq", queue="work")
    address = f"redis://127.0.0.1:{own_redis_server.port}"
    for job_id, url, database in ((first, address, 1), (second, f"{address}/4", 4)):
        given = {"redis.url": failing.server.url, "rq.redis_url": url}
        retrier = Retrier(failing.client, failing.engine, load(given, environ={}))
        with own_redis_server.client(db=database) as client:
            client.sadd("rq:queues", "rq:queue:work")
            retrier.retry(job_id, "ann")
            assert client.lrange("rq:queue:work", 0, -1) == [job_id.encode()]
            carried = JobContext.decode(client.hget(f"rq:job:{job_id}", HEADER))
        assert carried is not None
        assert (carried.attempt, carried.retried_by) == (2, "ann")
    assert rq.dbsize() == 0


def test_without_rqs_server_the_row_stays(failing: Failing, own_redis_server: RedisServer) -> None:
    (job_id,) = failing.fail(failing.run(), engine="rq", queue="work")
    given = {"redis.url": failing.server.url, "rq.redis_url": own_redis_server.url}
    own_redis_server.stop()
    retrier = Retrier(failing.client, failing.engine, load(given, environ={}))
    with pytest.raises(QueueUnavailable):
        retrier.retry(job_id, "ann")
    assert failing.rows()[0]["claimed_by"] is None
