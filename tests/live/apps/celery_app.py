"""The Celery application of the live tests: broker, results and store on one server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from typing import Any

import jobmon
from jobmon.demo import tracing

jobmon.instrument()
tracing.set_up()

import redis  # noqa: E402
from celery import Celery  # noqa: E402
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded  # noqa: E402
from celery.signals import task_postrun  # noqa: E402

URL = os.environ["TEST_URL"]
app: Any = Celery("live", broker=f"{URL}/1", backend=f"{URL}/2")
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=600,
    task_ignore_result=os.environ.get("TEST_IGNORE_RESULT") == "1",
    task_protocol=int(os.environ.get("TEST_PROTOCOL", "2")),
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
)
signals = redis.Redis.from_url(f"{URL}/3")


def hold(name: str) -> None:
    """Say that a job got here, with its process id, and wait for ``go:<name>``."""
    signals.set(f"at:{name}", os.getpid())
    deadline = time.monotonic() + 30
    while not signals.exists(f"go:{name}"):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
def fail(message: str, token: str = "") -> None:
    _one(message)


def _one(message: str) -> None:
    _two(message)


def _two(message: str) -> None:
    _three(message)


def _three(message: str) -> None:
    raise ValueError(message)


@app.task(bind=True, autoretry_for=(ConnectionError,), max_retries=5, default_retry_delay=0)
def flaky(self: Any, failures: int) -> int:
    if self.request.retries < failures:
        raise ConnectionError(f"attempt {self.request.retries}")
    return failures


@app.task(bind=True)
def retry_later(self: Any, countdown: float) -> None:
    if not self.request.retries:
        raise self.retry(countdown=countdown)


@app.task(bind=True)
def retry_quietly(self: Any) -> str:
    if self.request.retries:
        return "second"
    self.retry(countdown=0, throw=False)
    return "first"


@app.task(bind=True)
def replaced(self: Any) -> None:
    self.replace(add.si(1, 2))


@app.task
def nest(depth: int) -> None:
    if depth:
        nest.delay(depth - 1)


@app.task
def nest_in_thread() -> None:
    thread = threading.Thread(target=add.delay, args=(1,))
    thread.start()
    thread.join()


@app.task
def nest_inline() -> int:
    nest(1)
    return add.apply(args=(1,)).result


@app.task
def held(name: str) -> None:
    hold(name)


@app.task
def die(how: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), how)


@app.task(acks_late=True, reject_on_worker_lost=True)
def killed_once(name: str) -> None:
    """Its message goes back to the broker once."""
    if signals.set(f"killed:{name}", 1, nx=True):
        os.kill(os.getpid(), signal.SIGKILL)


@app.task
def die_after() -> str:
    """Its process is killed in the instant after the end was recorded."""
    return "done"


@task_postrun.connect(sender=die_after)
def _die(**_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave() -> None:
    sys.exit(3)


@app.task
def be_cancelled() -> None:
    """Raises what is no Exception."""
    raise asyncio.CancelledError


@app.task(soft_time_limit=1, time_limit=20)
def soft_limited() -> None:
    time.sleep(15)


@app.task(soft_time_limit=1, time_limit=20)
def soft_limited_caught() -> str:
    try:
        time.sleep(15)
    except SoftTimeLimitExceeded:
        return "caught"
    return "never"


@app.task(time_limit=1)
def hard_limited() -> None:
    time.sleep(15)


@app.task(acks_late=True)
def requeue(name: str) -> None:
    """Goes back to the broker once."""
    if signals.set(f"requeued:{name}", 1, nx=True):
        raise Reject("again", requeue=True)


@app.task
def ignore() -> None:
    raise Ignore


@app.task(acks_late=True)
def reject() -> None:
    raise Reject("no", requeue=False)


@app.task
def allocate(mebibytes: int) -> int:
    return len(bytearray(b"x") * (mebibytes << 20))
