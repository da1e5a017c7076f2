"""A store full of runs that have ended, whose marks can be put back after a pass."""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import Any

from jobmon.model import Outcome, RunTransition, Stage, Transition
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.writer import MAX_BATCH, Writer

COMMAND = "data:process"


class Filled:
    """A store in which ``runs`` ended with ``jobs`` jobs in all, none of them copied yet."""

    def __init__(self, client: Any, settings: Settings, jobs: int, runs: int = 1) -> None:
        client.flushall()
        self._client = client
        self._keys = Keys(settings.redis.prefix)
        self.jobs = jobs
        self.process_ids = [str(uuid.uuid4()) for _ in range(runs)]
        writer, random_, now = Writer(client, settings), random.Random(7), time.time()
        writer.apply([_run(one, now, "running") for one in self.process_ids])
        for number, process_id in enumerate(self.process_ids):
            own = jobs // runs + (number < jobs % runs)
            for start in range(0, own, MAX_BATCH):
                count = min(MAX_BATCH, own - start)
                writer.apply([_ended(random_, process_id, now) for _ in range(count)])
        writer.apply([_run(one, now, "completed") for one in self.process_ids])
        for name in self._marks():
            client.copy(name, f"{name}:kept")

    def again(self) -> None:
        """As if nothing had been copied."""
        for name in self._marks():
            self._client.copy(f"{name}:kept", name, replace=True)

    def _marks(self) -> list[str]:
        lists = [self._keys.of(one).unsynced for one in self.process_ids]
        return [self._keys.unsynced, self._keys.drained, *lists]


def _run(process_id: str, now: float, status: str) -> RunTransition:
    record: dict[str, Any] = {
        "id": process_id,
        "command": COMMAND,
        "source": "console",
        "started_at": now - 60,
        "host": "web-1",
        "pid": 4321,
    }
    ended = status != "running"
    if ended:
        record |= {"finished_at": now, "duration": 60.0, "exit_code": 0}
    return RunTransition(
        *(process_id, COMMAND, status, status if ended else ""),
        *(int(now * 1000), 60_000_000 if ended else 0, 0),
        json.dumps(record).encode(),
    )


def _ended(random_: random.Random, process_id: str, now: float) -> Transition:
    """A job's end as a worker tells it; what it overtakes changes no record."""
    seconds = random_.lognormvariate(-2, 2)
    outcome = Outcome.FAILED if random_.random() < 0.05 else Outcome.COMPLETED
    job_id = str(uuid.UUID(int=random_.getrandbits(128)))
    job_name = f"app.tasks.work_{random_.randrange(3)}"
    memory = 40_000_000 + random_.randrange(10_000_000)
    record: dict[str, Any] = {
        "queue": "default",
        "class": job_name,
        "command_name": COMMAND,
        "process_id": process_id,
        "engine": "celery",
        "created_at": now,
        "enqueued_at": now,
        "started_at": now + 0.25,
        "finished_at": now + 0.25 + seconds,
        "queue_time": 0.25,
        "execution_time": seconds,
        "memory_usage": memory,
        "outcome": str(outcome),
        "worker": "celery@worker-7f9c4d5b8-x2x4z",
        "root_id": job_id,
        "trace_id": f"{random_.getrandbits(128):032x}",
        "span_id": f"{random_.getrandbits(64):016x}",
        "host": "worker-7f9c4d5b8-x2x4z",
        "app": "default",
        "environment": "production",
        "release": "2024.11.3",
        "tags": ["batch", "eu-west-1"][: random_.randrange(3)],
        "v": 1,
    }
    if outcome is Outcome.FAILED:
        frames = [{"file": "/srv/app/tasks.py", "line": 31, "function": "work"}] * 3
        message = f"no user {random_.randrange(10**6)}"
        record["error"] = {"class": "ValueError", "message": message, "frames": frames}
    return Transition(
        process_id=process_id,
        command=COMMAND,
        manual=False,
        job_id=job_id,
        engine="celery",
        queue="default",
        job_name=job_name,
        status=str(outcome),
        outcome=str(outcome),
        attempt=1,
        delivery=0,
        stages=int(Stage.ENQUEUED | Stage.STARTED | Stage.ENDED),
        at_ms=int(now * 1000),
        execution_us=int(seconds * 1e6),
        queue_time_us=250_000,
        peak_memory_bytes=memory,
        error_type="ValueError" if outcome is Outcome.FAILED else "",
        body=json.dumps(record, separators=(",", ":")).encode()[1:],
    )
