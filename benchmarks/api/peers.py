"""What people use today, as real processes that hold jobs: Flower and rq-dashboard."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import redis
from celery import Celery
from rq import Queue

FLOWER_LIMIT = "/api/tasks?limit=25"
_READY_SECONDS = 60.0
_FILLED_SECONDS = 900.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(folder: Path, name: str, url: str, *command: str, **variables: str) -> Generator[None]:
    """A program that answers at a URL, its output in a file."""
    with (folder / f"{name}.log").open("wb") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **variables}
        )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(url):
            if running.poll() is not None or time.monotonic() > deadline:
                said = (folder / f"{name}.log").read_text()[-2000:]
                raise RuntimeError(f"{name} did not start: {said}")
            time.sleep(0.1)
        yield
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def flower(folder: Path, broker: str, tasks: int) -> Generator[str]:
    """Flower's list of tasks, once it has heard of that many."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "celery", "-b", broker, "flower", f"--port={port}")
    with process(
        *(folder, "flower", f"{base}/api/tasks?limit=1", *command, "--logging=error"),
        FLOWER_UNAUTHENTICATED_API="true",
    ):
        app = Celery(broker=broker)
        deadline = time.monotonic() + _FILLED_SECONDS
        with app.connection() as connection, app.events.Dispatcher(connection) as dispatcher:
            # Events are published to whoever listens: the first tells that it does.
            while not _count(base, 1):
                _tell(dispatcher, 0)
                if time.monotonic() > deadline:
                    raise RuntimeError("Flower hears no event")
                time.sleep(0.5)
            for number in range(tasks):
                _tell(dispatcher, number)
        while not _count(base, tasks):
            if time.monotonic() > deadline:
                raise RuntimeError("Flower did not hear of all tasks")
            time.sleep(1)
        yield base + FLOWER_LIMIT


def _tell(dispatcher: object, number: int) -> None:
    uuid_ = str(uuid.uuid4())
    send = dispatcher.send  # type: ignore[attr-defined]
    name = f"app.tasks.work_{number % 3}"
    send("task-received", uuid=uuid_, name=name, args=f"({number},)", kwargs="{}", retries=0)
    send("task-succeeded", uuid=uuid_, result="None", runtime=0.25)


def _count(base: str, wanted: int) -> bool:
    """Whether it holds as many: the last of them, by its place."""
    query = f"/api/tasks?limit=1&offset={wanted - 1}"
    return httpx.get(base + query, trust_env=False, timeout=60).json() != {}


@contextmanager
def rq_dashboard(folder: Path, url: str, jobs: int) -> Generator[str]:
    """rq-dashboard's list of a queue that holds that many jobs."""
    client = redis.Redis.from_url(url)
    queue = Queue("default", connection=client)
    data = [Queue.prepare_data("app.tasks.work", (number,)) for number in range(jobs)]
    for start in range(0, jobs, 1000):
        queue.enqueue_many(data[start : start + 1000])
    port = free_port()
    answers = f"http://127.0.0.1:{port}/0/data/jobs/default/queued/25/asc/1.json"
    program = "from rq_dashboard.cli import main; main()"
    command = (sys.executable, "-c", program, "-b", "127.0.0.1", "-p", str(port))
    with process(folder, "rq-dashboard", answers, *command, "--redis-url", url):
        yield answers
    client.close()
