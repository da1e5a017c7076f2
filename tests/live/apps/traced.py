"""Jobs of both engines that make spans of their own, and what ``rq worker -c`` reads."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery.signals import task_postrun, worker_process_shutdown
from opentelemetry import trace
from rq import Retry

from tests.live.apps import celery_app, rq_jobs
from tests.live.apps.celery_app import app, die, flaky, hard_limited, held, killed_once, leave
from tests.live.apps.rq_settings import REDIS_URL

app.conf.worker_enable_remote_control = True
tracer = trace.get_tracer("tests")


@app.task
def from_celery(hops: int) -> None:
    with tracer.start_as_current_span("inside celery"):
        rq_jobs.queue.enqueue(from_rq, hops)


@app.task
def exported() -> None:
    """Its process is killed once its span has arrived."""


@task_postrun.connect(sender=exported)
def _exported(**_: Any) -> None:
    provider: Any = trace.get_tracer_provider()
    provider.force_flush()
    os.kill(os.getpid(), signal.SIGKILL)


def from_rq(hops: int) -> None:
    with tracer.start_as_current_span("inside rq"):
        if hops:
            from_celery.delay(hops - 1)


def fail_once() -> None:
    rq_jobs.queue.enqueue(rq_jobs.flaky, 1, retry=Retry(max=1))


@worker_process_shutdown.connect
def _leaving(**_: Any) -> None:
    """A child of prefork has all its last words behind it."""
    celery_app.signals.rpush("left", time.time())


__all__ = [
    "REDIS_URL",
    "app",
    "die",
    "exported",
    "fail_once",
    "flaky",
    "from_celery",
    "from_rq",
    "hard_limited",
    "held",
    "killed_once",
    "leave",
]
