"""The application of the tests of schedulers: what beat sends, and how often, by environment."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from typing import Any

import jobmon

jobmon.instrument()

import redis  # noqa: E402
from celery import Celery  # noqa: E402
from celery.schedules import crontab, schedule  # noqa: E402

URL = os.environ["TEST_URL"]
signals = redis.Redis.from_url(f"{URL}/3")


class Blocking(schedule):
    """Stands still as soon as somebody says so, with the process and all its threads alive."""

    def is_due(self, last_run_at: Any) -> Any:
        while signals.exists("stand-still"):
            signals.set("stands-still", os.getpid())
            time.sleep(0.02)
        return super().is_due(last_run_at)


class Broken(schedule):
    """Cannot say what it is, nor when it is due."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(1)
        self.run_every: Any = "soon"

    def __repr__(self) -> str:  # Celery logs it
        return "broken"

    def remaining_estimate(self, last_run_at: Any) -> timedelta:
        raise RuntimeError("no estimate")

    def is_due(self, last_run_at: Any) -> tuple[bool, float]:
        return False, 5.0


def _schedule(name: str) -> Any:
    kinds = {
        "blocking": Blocking(0.2),
        "broken": Broken(1),
        "nightly": crontab("15", "4"),
    }
    return kinds[name] if name in kinds else float(name)


app: Any = Celery("shop", broker=os.environ.get("TEST_BROKER", f"{URL}/1"), backend=f"{URL}/2")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_publish_retry=False,
    broker_transport_options={"socket_connect_timeout": 1},
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    redbeat_redis_url=f"{URL}/4",
    redbeat_lock_key=None,
    beat_schedule={
        entry: {
            "task": f"{__name__}.{task}",
            "schedule": _schedule(every),
            "args": tuple(object() if arg == "no JSON" else arg for arg in args),
        }
        for entry, (task, every, args) in json.loads(os.environ.get("TEST_SCHEDULE", "{}")).items()
    },
)


@app.task
def work(*args: Any) -> list[Any]:
    return list(args)


@app.task
def broken(message: str) -> None:
    raise ValueError(message)


@app.task(bind=True, max_retries=3, default_retry_delay=0)
def second_time(self: Any) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def parent() -> None:
    work.delay("child")


@app.task
def killed() -> None:
    os.kill(os.getpid(), 9)
