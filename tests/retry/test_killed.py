"""A retry that was killed anywhere is pushed once in the end, or waits for a person's word."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from jobmon.instrument.context import HEADER, JobContext
from jobmon.model import Outcome
from jobmon.retry.errors import NotFailedError, PerhapsPushedError
from jobmon.retry.retrier import Retrier
from jobmon.settings import load
from jobmon.store.lease import Lease
from tests.live.rabbitmq import Broker, rabbitmq
from tests.retry.failing import Failing, failure
from tests.retry.killed import POINTS
from tests.serving import environment

pytestmark = pytest.mark.live

PUSHED = ("pushed", "recorded", "deleted")


@pytest.fixture(scope="module")
def amqp() -> Iterator[Broker]:
    with rabbitmq() as found:
        yield found


def killed(failing: Failing, point: str, job_id: str, broker: str = "") -> None:
    """Retry a job in a process that dies on the way."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.retry.killed", point, job_id],
        env=environment(
            REDIS_URL=failing.server.url,
            DATABASE_URL=failing.database.url,
            CELERY_BROKER_URL=broker or failing.broker,
        ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def settled(retry: Callable[[], object]) -> bool:
    """Whether a job was pushed by a call once the dead one's claim was over."""
    try:
        retry()
    except NotFailedError:
        return False
    return True


@pytest.mark.parametrize("point", POINTS)
def test_celery_on_redis_gets_one_message(failing: Failing, point: str) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    killed(failing, point, job_id)
    was_pushed = settled(lambda: failing.retrier(claim_seconds=0).retry(job_id, "ben"))
    assert was_pushed is (point not in PUSHED)
    (message,) = failing.queue()
    carried = JobContext.decode(message["headers"][HEADER])
    assert carried is not None
    assert carried.retried_by == ("ann" if point in PUSHED else "ben")
    record = failing.record(run, job_id)
    assert (record["status"], record["attempt"]) == ("pending", 2)
    assert record["retried_by"] == carried.retried_by
    assert failing.rows() == []


@pytest.mark.parametrize("point", POINTS)
def test_the_leader_settles_what_the_dead_have_left(failing: Failing, point: str) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    killed(failing, point, job_id)
    failing.retrier(claim_seconds=0).work(token=1)
    rows = failing.rows()
    assert len(failing.queue()) == (point in PUSHED)
    assert len(rows) == (point not in PUSHED)
    assert all(row["claimed_by"] is None for row in rows)


def test_a_message_that_a_worker_holds_is_found(failing: Failing) -> None:
    (job_id,) = failing.fail(failing.run())
    killed(failing, "pushed", job_id)
    with kombu.Connection(failing.broker) as connection:
        taken = connection.SimpleQueue("jobs").get(timeout=5)
        assert failing.queue() == []
        with pytest.raises(NotFailedError):
            failing.retrier(claim_seconds=0).retry(job_id, "ben")
        taken.ack()


def test_while_a_claim_is_young_nobody_else_pushes(failing: Failing) -> None:
    (job_id,) = failing.fail(failing.run())
    killed(failing, "claimed", job_id)
    with pytest.raises(NotFailedError):
        failing.retrier().retry(job_id, "ben")
    with pytest.raises(NotFailedError):
        failing.retrier().delete(job_id)
    failing.retrier().work(token=1)
    assert failing.rows()[0]["claimed_by"] is not None


def test_a_claim_is_of_one_attempt(failing: Failing) -> None:
    """The job went on without us, and failed once more."""
    run = failing.run()
    (job_id,) = failing.fail(run)
    killed(failing, "claimed", job_id)
    failing.recorded.write(failure(run, job_id, attempt=2))
    failing.copies.copy_failures()
    failing.retrier().retry(job_id, "ben")
    (message,) = failing.queue()
    carried = JobContext.decode(message["headers"][HEADER])
    assert carried is not None
    assert carried.attempt == 3


def test_a_correction_of_how_it_failed_leaves_the_claim(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run, outcome=Outcome.LOST)
    killed(failing, "pushed", job_id)
    failing.client.hdel(f"jobmon:command:{run.id}:jobs", job_id)
    failing.recorded.write(failure(run, job_id))
    failing.copies.copy_failures()
    (row,) = failing.rows()
    assert "Lost" not in row["exception"]
    with pytest.raises(NotFailedError):
        failing.retrier(claim_seconds=0).retry(job_id, "ben")
    assert len(failing.queue()) == 1


def test_who_was_taken_for_dead_pushes_no_more(failing: Failing) -> None:
    """Frozen after its claim, it wakes once another has pushed."""
    (job_id,) = failing.fail(failing.run())
    claimed, go = threading.Event(), threading.Event()
    slow = failing.retrier()
    claim = slow._claims.claim

    def slowly(*args: Any) -> Any:
        found = claim(*args)
        claimed.set()
        go.wait(20)
        return found

    slow._claims.claim = slowly  # type: ignore[method-assign]
    raised: list[BaseException] = []

    def retry() -> None:
        try:
            slow.retry(job_id, "ann")
        except NotFailedError as error:
            raised.append(error)

    thread = threading.Thread(target=retry)
    thread.start()
    assert claimed.wait(20)
    failing.retrier(claim_seconds=0).retry(job_id, "ben")
    go.set()
    thread.join(20)
    assert len(raised) == 1
    assert len(failing.queue()) == 1


def test_without_the_stores_memory_nothing_is_pushed_unasked(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    killed(failing, "claimed", job_id)
    failing.client.flushdb()
    with pytest.raises(PerhapsPushedError, match=f"jobmon retry --force {job_id}$"):
        failing.retrier(claim_seconds=0).retry(job_id, "ben")
    failing.retrier(claim_seconds=0).retry(job_id, "ben", force=True)
    assert len(failing.queue()) == 1


def test_of_a_job_that_may_have_run_and_been_forgotten_nobody_can_tell(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    killed(failing, "pushed", job_id)
    with failing.server.client(db=1) as broker:
        broker.delete("jobs")
    failing.client.hdel(f"jobmon:command:{run.id}:jobs", job_id)
    with pytest.raises(PerhapsPushedError):
        failing.retrier(claim_seconds=0).retry(job_id, "ben")
    assert failing.queue() == []


@pytest.mark.parametrize("point", POINTS)
def test_rabbitmq_gets_no_second_message_that_nobody_insists_on(
    failing: Failing, amqp: Broker, point: str
) -> None:
    queue = amqp.queue(f"jobs-{point.replace(' ', '-')}")
    settings = load(
        {
            "redis.url": failing.server.url,
            "database.url": failing.database.url,
            "celery.broker_url": amqp.url,
        },
        environ={},
    )
    retrier = Retrier(failing.client, failing.engine, settings, claim_seconds=0)
    with kombu.Connection(amqp.url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        run = failing.run()
        (job_id,) = failing.fail(run, queue=queue)
        killed(failing, point, job_id, amqp.url)
        retrier.work(token=1)
        if point in ("said to be pushing", "pushed"):
            with pytest.raises(PerhapsPushedError):
                retrier.retry(job_id, "ben")
            assert waiting(channel, queue) == (point == "pushed")
            assert failing.rows()[0]["claimed_by"] is not None
            # A worker that begins it says that it had been pushed.
            if point == "pushed":
                failing.recorded.write(run.ended(job_id)._replace(attempt=2))
                failing.copies.copy_failures()
            else:
                retrier.retry(job_id, "ben", force=True)
        else:
            assert settled(lambda: retrier.retry(job_id, "ben")) is (point not in PUSHED)
        assert waiting(channel, queue) == 1
        assert failing.rows() == []


def waiting(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).message_count)


@pytest.mark.parametrize("has_expired", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_rq_enqueues_once(failing: Failing, point: str, has_expired: bool) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run, engine="rq", queue="work")
    with failing.server.client(db=1) as rq:
        rq.sadd("rq:queues", "rq:queue:work")
        if not has_expired:
            rq.hset(f"rq:job:{job_id}", mapping={"status": "failed", "data": b"x"})
            rq.zadd("rq:failed:work", {job_id: 2e9})
        killed(failing, point, job_id)
        retrier = failing.retrier(claim_seconds=0)
        if has_expired and point == "said to be pushing":
            with pytest.raises(PerhapsPushedError):
                retrier.retry(job_id, "ben")
            retrier.retry(job_id, "ben", force=True)
        else:
            assert settled(lambda: retrier.retry(job_id, "ben")) is (point not in PUSHED)
        assert rq.lrange("rq:queue:work", 0, -1) == [job_id.encode()]
        assert rq.zcard("rq:failed:work") == 0
        carried = JobContext.decode(rq.hget(f"rq:job:{job_id}", HEADER))
        assert carried is not None
        assert carried.attempt == 2
    assert failing.rows() == []


def test_a_bulk_request_goes_on_where_the_dead_leader_was(failing: Failing) -> None:
    run = failing.run()
    ids = failing.fail(run, 30)
    killed_at = ids[10]
    failing.retrier().retry_run(run.id, "ann")
    program = (
        "import os, signal; from jobmon import settings; from jobmon.history import database;"
        "from jobmon.retry.celery import CeleryQueue; from jobmon.retry.retrier import Retrier;"
        "from jobmon.store import connection; push = CeleryQueue.push\n"
        "def dying(self, message, own, given):\n"
        "    push(self, message, own, given)\n"
        f"    if own.job_id == {killed_at!r}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "CeleryQueue.push = dying; own = settings.load()\n"
        "Retrier(connection.connect(own), database.connect(own), own).work(int(os.environ['T']))"
    )
    token = Lease(failing.client, failing.settings, seconds=60).acquire()
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(
            REDIS_URL=failing.server.url,
            DATABASE_URL=failing.database.url,
            CELERY_BROKER_URL=failing.broker,
        )
        | {"T": str(token)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert token is not None
    retrier = failing.retrier(claim_seconds=0)
    retrier.work(token)
    assert sorted(one["headers"]["id"] for one in failing.queue()) == sorted(ids)
    assert failing.rows() == []
    done = retrier.progress(run.id)
    assert done is not None
    assert (done.pushed, done.refused, done.remaining) == (30, 0, 0)
