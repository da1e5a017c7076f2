"""The application of ``celery_matrix``: more ways to end, and what they need switched on.

``TEST_CONF`` adds to its configuration, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import celery
from celery.exceptions import Reject

from tests.live.apps.celery_app import *  # noqa: F403
from tests.live.apps.celery_app import app, hold, signals

app.conf.update(
    task_default_queue="work",
    worker_deduplicate_successful_tasks=True,
    worker_enable_remote_control=True,
    **json.loads(os.environ.get("TEST_CONF", "{}")),
)
SINCE_5_7: dict[str, Any] = {}
if tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 7):
    SINCE_5_7 = {"acks_on_timeout": False}


@app.task(acks_late=True)
def held_late(name: str) -> None:
    hold(name)


@app.task(acks_late=True)
def once_held_late(name: str) -> str:
    """Holds the first time, and at once returns when it is delivered again."""
    if signals.set(f"held:{name}", 1, nx=True):
        hold(name)
        return "first"
    return "again"


@app.task(acks_late=True, reject_on_worker_lost=True)
def killed_meanwhile(name: str) -> None:
    """Holds the first time, for its child to be killed."""
    if signals.set(f"held:{name}", 1, nx=True):
        hold(name)


@app.task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def vanish(status: int = 0) -> None:
    os._exit(status)


@app.task(acks_late=True)
def die_late() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(retry_on_worker_lost=True, max_retries=2, default_retry_delay=0)
def die_and_retry(name: str, times: int) -> None:
    if signals.incr(f"died:{name}") <= times:
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, time_limit=1, **SINCE_5_7)
def slow_once(name: str) -> None:
    if signals.set(f"slow:{name}", 1, nx=True):
        time.sleep(15)


@app.task
def reject_early(requeue: bool) -> None:
    raise Reject("no", requeue=requeue)


@app.task(bind=True, max_retries=1)
def give_up(self: Any) -> None:
    raise self.retry(exc=ValueError("no"), countdown=0)


@app.task
def exhaust() -> None:
    raise MemoryError("no more")


@app.task
def refuse(request: Any, error: BaseException, traceback: object) -> None:
    """An errback, which Celery calls in place."""
    raise RuntimeError("errback")
