"""An application with Celery, RQ and Click, which knows nothing of jobmon."""

from __future__ import annotations

import os

import click
import redis
from celery import Celery
from rq import Queue

URL = os.environ["TEST_URL"].rsplit("/", 1)[0]
app = Celery("bare", broker=f"{URL}/1")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
)
own = redis.Redis.from_url(f"{URL}/3")
queue = Queue("work", connection=redis.Redis.from_url(f"{URL}/1"))


@app.task
def first(number: int) -> None:
    """Publish the second task."""
    second.delay(number)


@app.task
def second(number: int) -> None:
    """Ask Redis for something."""
    own.get("second")


def outer(number: int) -> None:
    """Enqueue the inner job."""
    queue.enqueue(inner, number)


def inner(number: int) -> None:
    """Ask Redis for something."""
    own.get("inner")


@click.group()
def cli() -> None:
    """Publish jobs."""


@cli.command()
def tasks() -> None:
    """A Celery task."""
    click.echo(first.delay(1).id)


@cli.command()
def jobs() -> None:
    """An RQ job."""
    click.echo(queue.enqueue(outer, 1).id)


if __name__ == "__main__":
    from tests.live.apps.bare import cli as program  # jobs are found by their module's name

    program()
