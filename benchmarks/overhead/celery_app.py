"""The Celery application of every row."""

# ruff: noqa: E402
from __future__ import annotations

from benchmarks.overhead import rows

rows.instrument()

from typing import Any

from celery import Celery

from benchmarks.overhead import gate

app: Any = Celery("overhead", broker=gate.url())
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    task_send_sent_event=rows.this_row().name == "events",
)


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""


app.task(name="wait")(gate.wait)
app.task(name="report")(gate.report)


def publish(name: str) -> None:
    """Publish one job."""
    app.tasks[name].delay()
