"""Stores and engines that hold jobs, for scrapes to read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from celery import Celery
from rq import Queue

from jobmon.model import RunTransition, Stage, Transition
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.series import (
    MOST_COMMANDS,
    MOST_ERROR_TYPES_OF_A_JOB,
    MOST_JOB_NAMES,
    MOST_JOB_SERIES,
    MOST_QUEUES,
)
from jobmon.store.writer import MAX_BATCH, Writer
from tests.conftest import RedisServer

NAMES, QUEUES, COMMANDS = 130, 10, 40
"""Make some 5,000 series."""
OPEN_RUNS: Final = 20
_ALL: Final = int(Stage.ENQUEUED | Stage.STARTED | Stage.ENDED)
_DURATIONS_US: Final = (20_000, 300_000, 4_000_000, 90_000_000, 700_000_000, 3_000_000_000)
_ONE_WAITS_OF: Final = 100


def name_of(number: int) -> str:
    """A job's name; so many are used in turn."""
    return f"app.tasks.work_{number}"


def queue_of(number: int) -> str:
    """The queue that jobs of a name are in."""
    return f"queue-{number}"


def store(server: RedisServer, jobs: int) -> None:
    """Jobs written by the product's own script: one of 100 waits, 1 of 20 failed, all are kept.

    The first of each name fill their series, so that there are as many however many jobs follow.
    """
    _write(server, _jobs(jobs, NAMES, QUEUES, COMMANDS, NAMES))


def limits(server: RedisServer) -> None:
    """As many label values, and sets of them, as there may be, each with all that it exports."""
    most = MOST_JOB_NAMES, MOST_QUEUES, MOST_COMMANDS, MOST_JOB_SERIES
    _write(server, _jobs(MOST_JOB_SERIES * 20, *most, all_errors=True))


def _write(server: RedisServer, items: Iterator[Transition | RunTransition]) -> None:
    settings = load({"redis.url": server.url}, environ={})
    with connection.connect(settings) as client:
        writer = Writer(client, settings)
        while batch := list(islice(items, MAX_BATCH)):
            applied = writer.apply(batch)
            assert applied.malformed == applied.refused == 0


def _jobs(
    jobs: int, names: int, queues: int, commands: int, sets: int, *, all_errors: bool = False
) -> Iterator[Transition | RunTransition]:
    now_ms = int(time.time() * 1000)
    runs = [str(uuid.uuid4()) for _ in range(commands)]
    for number, run in enumerate(runs):
        yield _run(run, f"data:command-{number}", "running", now_ms)
    for number in range(jobs):
        one, life = number % sets, number // sets
        name, queue = one % names, queue_of((one + one // names) % queues)
        run = number % commands
        waits = life > 0 and number % _ONE_WAITS_OF == 0
        failed = life % 20 == 1 or all_errors
        job_id = f"{number:08x}-0000-4000-8000-000000000000"
        body = (
            f'"queue":"{queue}","class":"{name_of(name)}","created_at":1.0,'
            f'"trace_id":"{number:032x}","span_id":"{number:016x}","v":1}}'
        )
        common: dict[str, Any] = {
            "process_id": runs[run],
            "command": f"data:command-{run}",
            "manual": False,
            "job_id": job_id,
            "engine": "celery",
            "queue": queue,
            "job_name": name_of(name),
            "attempt": 1,
            "delivery": 0,
            "at_ms": now_ms,
            "peak_memory_bytes": 0,
            "body": body.encode(),
        }
        if waits:
            yield Transition(
                **common,
                status="pending",
                outcome="",
                stages=int(Stage.ENQUEUED),
                execution_us=0,
                queue_time_us=-1,
                error_type="",
            )
            continue
        error = f"Error{life % MOST_ERROR_TYPES_OF_A_JOB}" if all_errors else "ValueError"
        yield Transition(
            **common,
            status="failed" if failed else "completed",
            outcome="failed" if failed else "completed",
            stages=_ALL,
            execution_us=_DURATIONS_US[life % len(_DURATIONS_US)],
            queue_time_us=20_000,
            error_type=error if failed else "",
        )
    for number, run in enumerate(runs[OPEN_RUNS:], OPEN_RUNS):
        yield _run(run, f"data:command-{number}", "completed", now_ms)


def _run(process_id: str, command: str, status: str, at_ms: int) -> RunTransition:
    outcome = "" if status == "running" else status
    body = f'{{"id":"{process_id}","command":"{command}","started_at":{at_ms / 1000}}}'
    return RunTransition(process_id, command, status, outcome, at_ms, 5_000_000, 0, body.encode())


def celery_events(broker: str, tasks: int) -> None:
    """Tell whoever listens of tasks with the same names and queues, as workers would."""
    app = Celery(broker=broker)
    with app.connection() as connected, app.events.Dispatcher(connected) as dispatcher:
        send: Any = dispatcher.send
        for number in range(tasks):
            one = {"uuid": str(uuid.uuid4())}
            send("task-received", **one, name=name_of(number % NAMES), args="()", kwargs="{}")
            send("task-started", **one)
            send("task-succeeded", **one, result="None", runtime=_DURATIONS_US[number % 6] / 1e6)


def rq_jobs(client: Any, jobs: int) -> None:
    """Queues that hold as many jobs, by the same names."""
    for queue in range(QUEUES):
        data = [
            Queue.prepare_data(name_of(number % NAMES), (number,))
            for number in range(queue, jobs, QUEUES)
        ]
        own = Queue(queue_of(queue), connection=client)
        for start in range(0, len(data), 1000):
            own.enqueue_many(data[start : start + 1000])
