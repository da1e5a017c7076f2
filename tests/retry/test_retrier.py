"""One failed job, or all of a run, is pushed once, recorded, and taken out of the table."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobmon.instrument.context import HEADER, JobContext
from jobmon.model import Outcome, Stage, Status
from jobmon.retry.errors import (
    MessageMissingError,
    NoneFailedError,
    NotConfiguredError,
    NotFailedError,
    QueueUnavailable,
)
from jobmon.retry.retrier import Retrier
from jobmon.settings import load
from jobmon.store.lease import Lease
from tests.retry.failing import Failing, celery_message, failure


def test_a_retried_job_waits_as_its_next_attempt_and_says_who_asked(
    failing_anywhere: Failing,
) -> None:
    failing = failing_anywhere
    run = failing.run()
    (job_id,) = failing.fail(run)
    before = time.time()
    failing.retrier().retry(job_id, "ann")
    (message,) = failing.queue()
    headers = message["headers"]
    assert (headers["id"], headers["eta"], headers["expires"], headers["retries"]) == (
        *(job_id, None, None),
        0,
    )
    carried = JobContext.decode(headers[HEADER])
    assert carried is not None
    assert (carried.attempt, carried.process_id, carried.retried_by) == (2, run.id, "ann")
    record = failing.record(run, job_id)
    assert (record["status"], record["attempt"], record["retried_by"]) == ("pending", 2, "ann")
    assert before - 1 <= record["retried_at"] == record["enqueued_at"] <= time.time() + 1
    assert not {"error", "finished_at", "execution_time", "outcome"} & record.keys()
    assert failing.counters(run) == {
        "job_count": 1,
        "failed_jobs": 0,
        "success_jobs": 0,
        "retried_jobs": 1,
        "lost_jobs": 0,
    }
    assert failing.rows() == []


def test_its_later_end_counts_once(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    failing.retrier().retry(job_id, "ann")
    ended = run.ended(job_id)._replace(attempt=2)
    failing.recorded.write(ended, ended)
    assert failing.counters(run)["success_jobs"] == 1
    assert failing.counters(run)["failed_jobs"] == 0


def test_a_number_is_that_of_a_row_before_it_is_a_jobs_id(failing: Failing) -> None:
    run = failing.run()
    (other,) = failing.fail(run)
    (row,) = failing.rows()
    failing.recorded.write(failure(run, str(row["id"])))
    failing.copies.copy_failures()
    assert failing.retrier().retry(str(row["id"]), "ann").job_id == other
    assert failing.retrier().retry(str(row["id"]), "ann").job_id == str(row["id"])
    with pytest.raises(NotFailedError, match=rf"Could not retry job \[{row['id']}\]\. It may no"):
        failing.retrier().retry(str(row["id"]), "ann")


@pytest.mark.parametrize("given", ["0", "9" * 19, "9" * 30, "no-such-job", "é", "a\0b", "x" * 999])
def test_what_has_not_failed_is_not_found(failing_anywhere: Failing, given: str) -> None:
    with pytest.raises(NotFailedError):
        failing_anywhere.retrier().retry(given, "ann")
    with pytest.raises(NotFailedError, match="Could not delete job"):
        failing_anywhere.retrier().delete(given)


def test_twenty_parallel_retries_push_one_message(failing_anywhere: Failing) -> None:
    failing = failing_anywhere
    (job_id,) = failing.fail(failing.run())
    together = threading.Barrier(20)

    def retry(number: int) -> bool:
        retrier = failing.retrier()
        together.wait()
        try:
            retrier.retry(job_id, f"person {number}")
        except NotFailedError:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(retry, range(20))) == 1
    assert len(failing.queue()) == 1
    assert failing.rows() == []


def test_a_job_fails_again_and_is_retried_again(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    for attempt in (2, 3):
        failing.retrier().retry(job_id, "ann")
        failing.recorded.write(failure(run, job_id, attempt=attempt))
        failing.copies.copy_failures()
    failing.retrier().retry(job_id, "ben")
    sent = [JobContext.decode(one["headers"][HEADER]) for one in failing.queue()]
    assert [(one.attempt, one.retried_by) for one in sent if one] == [
        *((2, "ann"), (3, "ann")),
        (4, "ben"),
    ]


def test_a_job_taken_for_lost_that_has_turned_up_is_not_pushed(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run, outcome=Outcome.LOST)
    failing.recorded.write(run.ended(job_id))
    with pytest.raises(NotFailedError):
        failing.retrier().retry(job_id, "ann")
    assert failing.queue() == []
    assert failing.rows() == []


def test_a_job_whose_record_has_expired_is_pushed_from_its_row(failing: Failing) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    failing.client.flushdb()
    failing.retrier().retry(job_id, "ann")
    record = failing.record(run, job_id)
    assert (record["status"], record["attempt"]) == ("pending", 2)
    assert (record["class"], record["queue"]) == ("app.tasks.process_user", "jobs")
    assert len(failing.queue()) == 1


@pytest.mark.parametrize(
    "kept",
    [
        *(b"", b"{", b"[]", b'{"v":2}', b'{"v":1,"engine":"celery"}', b"[" * 100_000),
        b'{"v":1,"engine":"rq","id":"x"}',
        celery_message(JobContext("x", "p", "c"), "jobs", body="not base64!"),
        celery_message(JobContext("x", "p", "c"), "q" * 300),
        celery_message(JobContext("x", "p", "c"), "jobs", body="A" * 600_000),
    ],
    ids=range(10),
)
def test_a_message_that_was_not_kept_whole_is_refused_and_the_row_stays(
    failing: Failing, kept: bytes
) -> None:
    (job_id,) = failing.fail(failing.run(), message=lambda *_: kept)
    with pytest.raises(MessageMissingError, match=r"\. Its arguments were not stored\.$"):
        failing.retrier().retry(job_id, "ann")
    (row,) = failing.rows()
    assert row["claimed_by"] is None


def test_without_an_address_of_the_broker_the_setting_is_named(failing: Failing) -> None:
    (job_id,) = failing.fail(failing.run())
    settings = load({"redis.url": failing.server.url}, environ={})
    with pytest.raises(NotConfiguredError, match=r"set celery\.broker_url\.$"):
        Retrier(failing.client, failing.engine, settings).retry(job_id, "ann")


def test_without_a_broker_nothing_is_pushed_and_the_row_is_free_again(
    failing_anywhere: Failing,
) -> None:
    failing = failing_anywhere
    (job_id,) = failing.fail(failing.run())
    away = load(
        {"redis.url": failing.server.url, "celery.broker_url": "amqp://127.0.0.1:1//"}, environ={}
    )
    began = time.monotonic()
    with pytest.raises(QueueUnavailable, match=r"\. The queue is unavailable\.$"):
        Retrier(failing.client, failing.engine, away).retry(job_id, "ann")
    assert time.monotonic() - began < 5
    (row,) = failing.rows()
    assert (row["claimed_at"], row["claimed_by"]) == (None, None)
    failing.retrier().retry(job_id, "ann")
    assert len(failing.queue()) == 1


def test_an_id_that_was_revoked_is_refused_by_workers_so_another_job_stands_for_it(
    failing: Failing,
) -> None:
    run = failing.run()
    (job_id,) = failing.fail(run)
    revoked = run.transition(job_id, Status.REVOKED, Stage.ENDED, Outcome.REVOKED)
    failing.recorded.write(revoked._replace(attempt=2), failure(run, job_id, attempt=3))
    failing.copies.copy_failures()
    failing.retrier().retry(job_id, "ann")
    (message,) = failing.queue()
    new = message["headers"]["id"]
    assert new != job_id
    assert message["headers"]["root_id"] == message["properties"]["correlation_id"] == new
    record = failing.record(run, new)
    assert (record["attempt"], record["retry_of"], record["root_id"]) == (1, job_id, new)
    assert failing.record(run, job_id)["status"] == "failed"
    assert failing.rows() == []


def test_deleting_takes_the_row_alone(failing_anywhere: Failing) -> None:
    failing = failing_anywhere
    run = failing.run()
    (job_id,) = failing.fail(run)
    before = failing.record(run, job_id)
    failing.retrier().delete(job_id)
    assert failing.rows() == []
    assert failing.record(run, job_id) == before
    with pytest.raises(NotFailedError):
        failing.retrier().delete(job_id)


def test_while_rq_is_away_its_job_is_not_deleted_and_one_of_celery_is(failing: Failing) -> None:
    run = failing.run()
    (of_rq,) = failing.fail(run, engine="rq")
    (of_celery,) = failing.fail(run)
    given = {"redis.url": failing.server.url, "rq.redis_url": "redis://127.0.0.1:1"}
    retrier = Retrier(failing.client, failing.engine, load(given, environ={}))
    retrier.delete(of_celery)
    with pytest.raises(QueueUnavailable) as raised:
        retrier.delete(of_rq)
    assert str(raised.value) == f"Could not delete job [{of_rq}]. The queue is unavailable."
    assert [row["uuid"] for row in failing.rows()] == [of_rq]


def test_a_run_none_of_whose_jobs_has_a_queue_that_is_known_is_refused(
    failing_anywhere: Failing,
) -> None:
    failing = failing_anywhere
    run = failing.run()
    failing.fail(run, 2)
    settings = load({"redis.url": failing.server.url}, environ={})
    retrier = Retrier(failing.client, failing.engine, settings)
    with pytest.raises(NotConfiguredError, match=r"set celery\.broker_url\.$"):
        retrier.retry_run(run.id, "ann")
    assert retrier.progress(run.id) is None
    failing.fail(run, engine="rq")
    assert retrier.retry_run(run.id, "ann").requested == 3


def test_all_of_a_run_are_pushed_once_by_whoever_leads(failing_anywhere: Failing) -> None:
    failing = failing_anywhere
    run, other = failing.run(), failing.run()
    failing.fail(other, 2)
    ids = failing.fail(run, 250)
    retrier = failing.retrier()
    asked = retrier.retry_run(run.id, "ann")
    assert (asked.requested, asked.pushed, asked.remaining) == (250, 0, 250)
    assert failing.queue() == []
    token = leading(failing)
    retrier.work(token)
    done = retrier.progress(run.id)
    assert done is not None
    assert (done.requested, done.pushed, done.refused, done.remaining) == (250, 250, 0, 0)
    assert done.finished_at is not None
    assert sorted(one["headers"]["id"] for one in failing.queue()) == sorted(ids)
    assert failing.counters(run)["failed_jobs"] == 0
    assert len(failing.rows()) == 2
    with pytest.raises(NoneFailedError, match="No failed jobs found for this command"):
        retrier.retry_run(run.id, "ann")


def test_asked_for_twice_each_is_pushed_once(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 5)
    first, second = failing.retrier(), failing.retrier()
    first.retry_run(run.id, "ann")
    failing.fail(run, 2)
    second.retry_run(run.id, "ben")
    token = leading(failing)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one.work(token), (first, second)))
    assert len({one["headers"]["id"] for one in failing.queue()}) == len(failing.queue()) == 7


def test_asked_for_again_while_it_is_open_what_failed_since_is_added(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 1, message=lambda *_: b"")
    failing.fail(run, 101)
    retrier = failing.retrier()
    retrier.retry_run(run.id, "ann")
    failing.fail(run, 2)
    assert retrier.retry_run(run.id, "ben").requested == 104
    assert retrier.retry_run(run.id, "ben").requested == 104
    retrier.work(leading(failing))
    done = retrier.progress(run.id)
    assert done is not None
    assert (done.requested, done.pushed, done.refused, done.remaining) == (104, 103, 1, 0)


def test_what_was_pushed_and_refused_is_counted_whatever_becomes_of_the_rows(
    failing: Failing,
) -> None:
    run = failing.run()
    failing.fail(run, 1, message=lambda *_: b"")
    failing.fail(run, 3)
    retrier = failing.retrier()
    retrier.retry_run(run.id, "ann")
    retrier.work(leading(failing))
    (refused,) = failing.rows()
    retrier.delete(str(refused["id"]))
    done = retrier.progress(run.id)
    assert done is not None
    assert (done.requested, done.pushed, done.refused, done.remaining) == (4, 3, 1, 0)


def test_a_row_that_is_tried_again_is_not_counted_twice(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 2)
    failing.fail(run, 1, message=lambda *_: b"")
    away = load(
        {"redis.url": failing.server.url, "celery.broker_url": "redis://127.0.0.1:1/0"}, environ={}
    )
    token = leading(failing)
    failing.retrier().retry_run(run.id, "ann")
    Retrier(failing.client, failing.engine, away).work(token)
    failing.retrier().work(token)
    done = failing.retrier().progress(run.id)
    assert done is not None
    assert (done.requested, done.pushed, done.refused, done.remaining) == (3, 2, 1, 0)


def test_whoever_leads_no_more_takes_no_further_batch(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 150)
    failing.retrier().retry_run(run.id, "ann")
    leading(failing)
    failing.retrier().work(token=1)
    assert len(failing.queue()) == 100
    assert len(failing.rows()) == 50


def test_what_cannot_be_pushed_is_counted_and_does_not_stop_the_rest(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 1, message=lambda *_: b"")
    failing.fail(run, 3)
    retrier = failing.retrier()
    retrier.retry_run(run.id, "ann")
    retrier.work(leading(failing))
    done = retrier.progress(run.id)
    assert done is not None
    assert (done.pushed, done.refused, done.remaining) == (3, 1, 0)
    assert done.error.endswith("Its arguments were not stored.")
    assert len(failing.queue()) == 3


def test_while_the_broker_is_away_a_request_waits(failing: Failing) -> None:
    run = failing.run()
    failing.fail(run, 3)
    away = load(
        {"redis.url": failing.server.url, "celery.broker_url": "redis://127.0.0.1:1/0"}, environ={}
    )
    retrier = Retrier(failing.client, failing.engine, away)
    retrier.retry_run(run.id, "ann")
    token = leading(failing)
    retrier.work(token)
    waiting = retrier.progress(run.id)
    assert waiting is not None
    assert (waiting.pushed, waiting.remaining, waiting.finished_at) == (0, 3, None)
    assert waiting.error.endswith("The queue is unavailable.")
    failing.retrier().work(token)
    assert len(failing.queue()) == 3


def leading(failing: Failing) -> int:
    token = Lease(failing.client, failing.settings, seconds=60).acquire()
    assert token is not None
    return token
