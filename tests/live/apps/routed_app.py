"""A Celery application whose tasks go to several queues."""

from __future__ import annotations

import os
import time
from typing import Any

import jobmon

jobmon.instrument()

from celery import Celery  # noqa: E402

URL = os.environ["TEST_URL"]


def slow_router(*_: object, **__: object) -> dict[str, str] | None:
    """One that asks a service which does not answer."""
    time.sleep(3600)


app: Any = Celery("routed", broker=f"{URL}/1")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_routes=(
        {"routed.mail.*": {"queue": "mail"}, "routed.nowhere": {"priority": 3}, "routed.odd": None},
        *([slow_router] if "SLOW_ROUTER" in os.environ else []),
    ),
    worker_enable_remote_control=False,
)


def nothing() -> None:
    pass


for name, options in {
    "routed.plain": {},
    "routed.own": {"queue": "own"},
    "routed.mail.send": {},
    "routed.nowhere": {},
    "routed.odd": {},
}.items():
    app.task(name=name, **options)(nothing)
