"""Jobs that say by hand which command they belong to; imported by the processes under test."""

from __future__ import annotations

import json
import os
from typing import Any

import celery
import redis
import rq

import jobmon

URL = os.environ["TEST_URL"]
app: Any = celery.Celery("tracked", broker=URL)
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


def seen(job: Any, **more: object) -> None:
    """Tell the test what a running job knows of itself."""
    told = {
        "process_id": job.command_process_id,
        "command": job.command_name,
        "type": job.job_type,
        "created": job.job_created_at,
        "started": job.job_started_at,
        "queue_time": job.get_queue_time(),
        "again": job.mark_job_started().job_started_at,
        **more,
    }
    with redis.Redis.from_url(URL) as client:
        client.rpush("told", json.dumps(told))


class Report(jobmon.TrackableJob, celery.Task):  # type: ignore[misc]
    name = "tracked.report"

    def run(self, number: int) -> int:
        seen(self, number=number, root=self.request.root_id)
        return number


report = app.register_task(Report())


@app.task(base=Report, bind=True, name="tracked.based")
def based(self: Any, number: int) -> int:
    """A function whose task class is trackable; enqueues another job."""
    seen(self, number=number)
    report.delay(number + 1)
    return number


@app.task(name="tracked.plain")
def plain(number: int) -> int:
    """A task without any class of ours."""
    return number + 1


class Ingest(jobmon.TrackableJob):
    """An RQ job."""

    def handle(self, number: int) -> None:
        seen(self, number=number)
        queue().enqueue(double, number)


def double(number: int) -> int:
    """A plain RQ job."""
    return 2 * number


def queue() -> Any:
    """The queue of RQ's jobs."""
    return rq.Queue("tracked", connection=redis.Redis.from_url(URL))


def work_celery() -> None:
    """Run what is on Celery's queue, on a thread of this process, until it is empty."""
    from celery.contrib.testing.worker import start_worker

    with redis.Redis.from_url(URL) as client:
        with start_worker(app, pool="solo", perform_ping_check=False, loglevel="ERROR"):
            import time

            until = time.monotonic() + 20
            while client.llen("celery") or not client.llen("told"):
                assert time.monotonic() < until
                time.sleep(0.02)


def work_rq() -> None:
    """Run what is on RQ's queue."""
    one = queue()
    rq.SimpleWorker([one], connection=one.connection).work(burst=True, logging_level="ERROR")
