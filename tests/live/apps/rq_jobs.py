"""RQ jobs of the live tests, and their queue. Importing it instruments: a producer in one line."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import timedelta

import jobmon

jobmon.instrument()

import redis  # noqa: E402
from rq import Queue, Retry, get_current_job  # noqa: E402
from rq.job import Job  # noqa: E402

URL = os.environ["TEST_URL"]
signals = redis.Redis.from_url(f"{URL}/3")
connection = redis.Redis.from_url(f"{URL}/1")
queue = Queue("work", connection=connection)


def hold(name: str) -> None:
    """Say that a job got here, with its process id, and wait for ``go:<name>``."""
    signals.set(f"at:{name}", os.getpid())
    deadline = time.monotonic() + 30
    while not signals.exists(f"go:{name}"):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.01)


def add(x: int, y: int = 0) -> int:
    return x + y


async def add_soon(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


class Adder:
    def __init__(self, x: int) -> None:
        self.x = x

    def add(self, y: int) -> int:
        return self.x + y


def fail(message: str, token: str = "") -> None:
    _one(message)


def _one(message: str) -> None:
    _two(message)


def _two(message: str) -> None:
    _three(message)


def _three(message: str) -> None:
    raise ValueError(message)


def flaky(failures: int) -> int:
    """Fail so many times."""
    job = get_current_job()
    assert job is not None
    seen = signals.incr(f"flaky:{job.id}")
    if seen <= failures:
        raise ConnectionError(f"attempt {seen}")
    return seen


def give_back_once() -> object:
    """Return ``Retry``, then a number."""
    job = get_current_job()
    assert job is not None
    return Retry(max=1) if signals.incr(f"given back:{job.id}") == 1 else 1


def give_back(times: int) -> object:
    """Return ``Retry`` for ever; RQ allows so many."""
    return Retry(max=times)


def nest(depth: int) -> None:
    if depth:
        queue.enqueue(nest, depth - 1)


def nest_in_thread() -> None:
    thread = threading.Thread(target=queue.enqueue, args=(add, 1))
    thread.start()
    thread.join()


def nest_later() -> None:
    queue.enqueue_in(timedelta(seconds=1), add, 1)


def allocate(mebibytes: int) -> int:
    return len(bytearray(os.urandom(1 << 20) * mebibytes))


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def held(name: str) -> None:
    hold(name)


def held_and_nest(name: str) -> None:
    hold(name)
    queue.enqueue(add, 1)


def vanish() -> None:
    os._exit(0)


def held_and_vanish(name: str) -> None:
    hold(name)
    os._exit(0)


def leave(code: int) -> None:
    os._exit(code)


def exit_with(code: int) -> None:
    raise SystemExit(code)


def held_and_fail(name: str) -> None:
    hold(name)
    raise ValueError(name)


def kill_itself(number: int = signal.SIGKILL) -> None:
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)


def hang() -> None:
    """Ignore the time limit, which arrives as a signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)


def refuse(*args: object) -> None:
    """A callback that raises."""
    raise RuntimeError("callback")


def kill_itself_once(name: str) -> None:
    if signals.incr(f"killed:{name}") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def nest_and_die() -> None:
    """Publish, and be killed in the next instant."""
    queue.enqueue(add, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_wait() -> None:
    """A fork of the job's own that leaves through RQ's code and ours, as careless ones do."""
    child = os.fork()
    if child == 0:
        if "RQ_JOB_ID" in os.environ:
            raise SystemExit(0)
        os._exit(0)  # in a SimpleWorker it would become a second worker
    os.waitpid(child, 0)


__all__ = ["Job", "Queue", "Retry", "add", "connection", "queue", "signals", "timedelta"]
