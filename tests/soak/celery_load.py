"""Jobs that do nothing, and the process that publishes them in runs while the worker keeps up.

Run by ``test_celery.py``; prints the id of each run as soon as it is over.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from typing import Any, Final

import jobmon

jobmon.instrument()

from celery import Celery  # noqa: E402

COMMAND: Final = "soak:publish"
MOST_WAITING: Final = 500
"""Jobs in the queue before the producer waits: what is published then adds no memory."""

for name in ("celery.worker.strategy", "celery.app.trace"):
    logging.getLogger(name).setLevel(logging.WARNING)  # two lines for each job

app: Any = Celery("soak", broker=os.environ["SOAK_BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task(name="soak.early")
def early() -> None:
    """Acknowledged when it starts: lost with its child."""


@app.task(name="soak.late", acks_late=True)
def late() -> None:
    """Acknowledged when it ends, and when its child dies."""


@app.task(name="soak.again", acks_late=True, reject_on_worker_lost=True)
def again() -> None:
    """Goes back to the broker when its child dies."""


TASKS: Final = (early, late, again)


def main() -> None:
    """Publish as many as asked."""
    options = argparse.ArgumentParser()
    options.add_argument("--runs", type=int, required=True)
    options.add_argument("--jobs", type=int, required=True, help="of each run")
    arguments = options.parse_args()
    with app.connection_for_write() as connection:
        broker = connection.default_channel.client
        for _ in range(arguments.runs):
            with jobmon.command(COMMAND) as run:
                for number in range(arguments.jobs):
                    if number % 100 == 0:
                        while broker.llen(app.conf.task_default_queue) > MOST_WAITING:
                            time.sleep(0.01)
                    TASKS[number % len(TASKS)].delay()
            print(run.id, flush=True)


if __name__ == "__main__":
    main()
