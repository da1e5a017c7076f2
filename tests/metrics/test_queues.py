"""Families of queues."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobmon.store import connection
from jobmon.store.lease import Lease
from jobmon.store.queues import QueueDepth, QueueDepths
from tests.metrics.conftest import Sampled
from tests.serving import Recorded

Tell = Callable[[QueueDepths, int], bool]


@pytest.fixture
def tell(recorded: Recorded) -> Callable[[Tell], None]:
    """Tells the store as the server that leads does."""

    def do(what: Tell) -> None:
        with connection.connect(recorded.settings) as client:
            lease = Lease(client, recorded.settings)
            token = lease.acquire()
            assert token is not None
            assert what(QueueDepths(client, recorded.settings), token)
            lease.release(token)

    return do


def test_queues_have_jobs_by_state_and_the_oldest_of_them(
    tell: Callable[[Tell], None], sampled: Sampled
) -> None:
    own = {"engine": "rq", "queue": "mail"}
    assert sampled("jobmon_queue_jobs", **own, state="waiting") is None
    assert sampled("jobmon_queue_polled_timestamp_seconds", engine="rq") is None
    jobs = {"waiting": 3, "failed": 0}
    tell(lambda depths, token: depths.write(token, "rq", [QueueDepth("rq", "mail", jobs, 17.5)]))
    assert sampled("jobmon_queue_jobs", **own, state="waiting") == 3
    assert sampled("jobmon_queue_jobs", **own, state="failed") == 0
    assert sampled("jobmon_queue_jobs", **own, state="reserved") is None
    assert sampled("jobmon_queue_oldest_job_timestamp_seconds", **own) == 17.5
    polled = sampled("jobmon_queue_polled_timestamp_seconds", engine="rq")
    assert polled == pytest.approx(time.time(), abs=30)
    tell(lambda depths, token: depths.write(token, "rq", [QueueDepth("rq", "mail", jobs)]))
    assert sampled("jobmon_queue_oldest_job_timestamp_seconds", **own) is None


def test_errors_are_counted_from_zero_on(tell: Callable[[Tell], None], sampled: Sampled) -> None:
    assert sampled("jobmon_queue_poll_errors_total", engine="celery") == 0
    tell(lambda depths, token: depths.fail(token, "celery"))
    assert sampled("jobmon_queue_poll_errors_total", engine="celery") == 1
    assert sampled("jobmon_queue_poll_errors_total", engine="rq") == 0
