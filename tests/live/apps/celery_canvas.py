"""The application of the tests of canvas, green pools and RabbitMQ.

``TEST_CONF`` adds to its configuration, as JSON; ``TEST_QUEUES`` names its queues, each a list of
name, exchange, the exchange's type, routing key and arguments.
"""

from __future__ import annotations

import json
import os
import threading
import time
from importlib import import_module
from typing import Any

import celery
from celery import chain, group
from kombu import Exchange, Queue
from kombu.common import Broadcast

from tests.live.apps.celery_app import *  # noqa: F403
from tests.live.apps.celery_app import add, app, hold, signals

app.conf.update({"worker_enable_remote_control": True})
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
if "TEST_QUEUES" in os.environ:
    app.conf.task_queues = [
        Broadcast(name)
        if kind == "broadcast"
        else Queue(name, Exchange(exchange, type=kind), routing_key, queue_arguments=arguments)
        for name, exchange, kind, routing_key, arguments in json.loads(os.environ["TEST_QUEUES"])
    ]

SINCE_5_7: dict[str, Any] = {}
if tuple(map(int, celery.__version__.split(".")[:2])) >= (5, 7):
    SINCE_5_7 = {"acks_on_timeout": False}


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def report(task_id: str) -> None:
    """An errback of the old style: a message of its own."""


@app.task
def explain(request: Any, error: BaseException, traceback: object) -> None:
    """An errback of the new style: called in place, in the process of the job that failed."""
    add.delay(40, 2)


@app.task
def spread() -> None:
    """Publishes canvas from inside of a job."""
    chain(add.s(1, 1), add.s(2)).delay()
    group(add.s(number) for number in range(2)).delay()


@app.task
def publish_between(name: str, number: int) -> None:
    """Publishes before and after another of its name has done the same."""
    for turn in range(3):
        add.apply_async((number,), task_id=f"{name}-{number}-{turn}")
        meet(f"{name}-{turn}", number)


def meet(name: str, number: int) -> None:
    """Wait until two jobs of this name are here at once."""
    signals.sadd(f"met:{name}", number)
    deadline = time.monotonic() + 30
    while signals.scard(f"met:{name}") < 2:
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)


@app.task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@app.task(acks_late=True)
def held_once(name: str) -> None:
    """Holds the first time only."""
    if signals.set(f"held:{name}", 1, nx=True):
        hold(name)


@app.task
def when() -> float:
    return time.time()


@app.task
def publish_in_greenlet(number: int) -> None:
    """In one that another one spawned, and in a thread, which is a greenlet there as well."""
    import gevent

    gevent.spawn(lambda: gevent.spawn(add.delay, number).join()).join()
    thread = threading.Thread(target=add.delay, args=(number,))
    thread.start()
    thread.join()


@app.task
def longest_wait(turns: int) -> float:
    """Seconds that a sleep of 10 ms took at most, of so many: how long the pool stood still."""
    longest = 0.0
    for _ in range(turns):
        began = time.monotonic()
        time.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    return longest


@app.task
def exceed(pool: str) -> None:
    """Leaves by a time limit of its own, which is no Exception."""
    with import_module(pool).Timeout(0.2):
        time.sleep(10)


@app.task(acks_late=True, time_limit=0.5, **SINCE_5_7)
def slow_once(name: str) -> None:
    """Exceeds its limit the first time only."""
    if signals.set(f"slow:{name}", 1, nx=True):
        time.sleep(10)
