"""A Celery application whose tasks go to several queues."""

from __future__ import annotations

import os
from typing import Any

import jobmon

jobmon.instrument()

from celery import Celery  # noqa: E402

URL = os.environ["TEST_URL"]


def route(name: str, *_: object, **__: object) -> dict[str, str] | None:
    if name == "routed.broken":
        raise LookupError(name)
    return {"queue": "by function"} if name == "routed.by_function" else None


app: Any = Celery("routed", broker=f"{URL}/1")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_routes=(route, {"routed.mail.*": {"queue": "mail"}}),
    worker_enable_remote_control=False,
)


def nothing() -> None:
    pass


for name, options in {
    "routed.plain": {},
    "routed.own": {"queue": "own"},
    "routed.mail.send": {},
    "routed.by_function": {},
    "routed.broken": {},
}.items():
    app.task(name=name, **options)(nothing)
