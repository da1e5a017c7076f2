"""Families of queues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from jobmon.model import Beat
from jobmon.store import connection
from jobmon.store.beats import Beats
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


def test_workers_of_queues_that_share_a_series_share_one_too(
    recorded: Recorded, tell: Callable[[Tell], None], sampled: Sampled
) -> None:
    names = [f"queue-{number:03}" for number in range(210)]
    depths = [QueueDepth("rq", name, {"waiting": 1}) for name in names]
    tell(lambda own, token: own.write(token, "rq", depths))
    said = {"engine": "rq", "name": "w", "hostname": "h", "queues": names, "slots": 1, "busy": 0}
    told = {**said, "started_at": time.time(), "beats_every": 10}
    with connection.connect(recorded.settings) as client:
        beats = Beats(client, recorded.settings)
        beats.send([Beat("worker", "w", body=json.dumps(told).encode())])
    for queue in ("queue-000", "other"):
        assert sampled("jobmon_queue_jobs", engine="rq", queue=queue, state="waiting")
        assert sampled("jobmon_queue_workers", engine="rq", queue=queue)
    assert sampled("jobmon_queue_workers", engine="rq", queue="queue-209") is None


def test_of_a_broker_that_is_not_to_be_read_nothing_is_stale(
    recorded: Recorded, tell: Callable[[Tell], None], sampled: Sampled
) -> None:
    for engine in ("rq", "celery"):
        tell(lambda depths, token, engine=engine: depths.write(token, engine, []))
    with connection.connect(recorded.settings) as client:
        QueueDepths(client, recorded.settings).forget(["celery"])
    assert sampled("jobmon_queue_polled_timestamp_seconds", engine="celery") is None
    assert sampled("jobmon_queue_polled_timestamp_seconds", engine="rq") is not None


def test_errors_are_counted_from_zero_on(tell: Callable[[Tell], None], sampled: Sampled) -> None:
    assert sampled("jobmon_queue_poll_errors_total", engine="celery") == 0
    tell(lambda depths, token: depths.fail(token, "celery"))
    assert sampled("jobmon_queue_poll_errors_total", engine="celery") == 1
    assert sampled("jobmon_queue_poll_errors_total", engine="rq") == 0
