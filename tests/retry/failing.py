"""Failed jobs with messages as workers keep them, in a store and a database."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

import redis

from jobmon.instrument.context import HEADER, JobContext
from jobmon.model import Outcome, Stage, Status, Transition
from jobmon.retry.retrier import Retrier
from jobmon.settings import Settings, load
from tests.conftest import RedisServer
from tests.databases import Database
from tests.history.copied import Copies
from tests.serving import Recorded, Run


def celery_message(own: JobContext, queue: str, **more: Any) -> bytes:
    """What a worker keeps of a failed job of Celery."""
    headers = {
        "lang": "py",
        "task": "app.tasks.process_user",
        "id": own.job_id,
        "root_id": own.root_id or own.job_id,
        "eta": "2020-01-01T00:00:00+00:00",
        "expires": "2020-01-01T00:00:00+00:00",
        "retries": 3,
        HEADER: own.encode(),
    }
    stored = {
        "v": 1,
        "engine": "celery",
        "body": base64.b64encode(b"[[1], {}, {}]").decode(),
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": headers,
        "properties": {"correlation_id": own.job_id, "delivery_mode": 2, "priority": 0},
        "exchange": "",
        "routing_key": queue,
        "queue": queue,
        **more,
    }
    return json.dumps(stored).encode()


def rq_message(own: JobContext, queue: str, **fields: bytes) -> bytes:
    """What a worker keeps of a failed job of RQ."""
    given = {
        "created_at": b"2026-01-01T00:00:00.000000Z",
        "data": b"\x80not to be unpickled",
        "origin": queue.encode(),
        HEADER: own.encode().encode(),
        **fields,
    }
    stored = {
        "v": 1,
        "engine": "rq",
        "id": own.job_id,
        "queue": queue,
        "prefix": "rq:",
        "redis": {"host": "203.0.113.9", "port": 1, "db": 1},
        "fields": {name: base64.b64encode(value).decode() for name, value in given.items()},
    }
    return json.dumps(stored).encode()


def failure(
    run: Run,
    job_id: str,
    *,
    engine: str = "celery",
    queue: str = "jobs",
    outcome: Outcome = Outcome.FAILED,
    message: Any = None,
    attempt: int = 1,
) -> Transition:
    """The end of a job that failed; ``message`` makes what is kept of it."""
    make = message or (celery_message if engine == "celery" else rq_message)
    own = JobContext(job_id, run.id, run.command, queue=queue, attempt=attempt, root_id=job_id)
    status = Status.LOST if outcome is Outcome.LOST else Status.FAILED
    stage = Stage.LOST if outcome is Outcome.LOST else Stage.ENDED
    return run.transition(
        job_id, status, stage, outcome, engine=engine, queue=queue, root_id=job_id
    )._replace(message=make(own, queue), attempt=attempt)


class Failing:
    """One store, one database, and a broker on that store's server."""

    def __init__(
        self, store: RedisServer, where: Database, engine: Any, copies: Copies, broker: str = ""
    ) -> None:
        self.server = store
        self.database = where
        self.engine = engine
        self.copies = copies
        self.recorded = Recorded(store)
        self.broker = broker or f"{store.url.rsplit('/', 1)[0]}/1"
        self.settings: Settings = load(
            {
                "redis.url": store.url,
                "database.url": where.url,
                "celery.broker_url": self.broker,
            },
            environ={},
        )
        self.client: redis.Redis = self.recorded._client

    def retrier(self, **options: Any) -> Retrier:
        return Retrier(self.client, self.engine, self.settings, **options)

    def run(self, command: str = "data:process") -> Run:
        return self.recorded.run(command)

    def fail(
        self,
        run: Run,
        number: int = 1,
        *,
        engine: str = "celery",
        queue: str = "jobs",
        outcome: Outcome = Outcome.FAILED,
        message: Any = None,
    ) -> list[str]:
        """Record jobs that failed in their first attempt, and copy them into the table."""
        ids = [str(uuid.uuid4()) for _ in range(number)]
        self.recorded.write(
            *(
                failure(run, i, engine=engine, queue=queue, outcome=outcome, message=message)
                for i in ids
            )
        )
        assert self.copies.copy_failures().failed == number
        return ids

    def rows(self) -> list[Mapping[str, Any]]:
        """Of ``failed_jobs``, oldest first."""
        return sorted(
            self.copies.rows("failed_jobs", all_columns=True), key=lambda row: int(row["id"])
        )

    def queue(self, name: str = "jobs") -> list[dict[str, Any]]:
        """Messages of Celery that wait on Redis, oldest first."""
        with self.server.client(db=1) as client:
            return [json.loads(raw) for raw in reversed(client.lrange(name, 0, -1))]

    def record(self, run: Run, job_id: str) -> dict[str, Any]:
        """A job's record."""
        raw = self.client.hget(f"jobmon:command:{run.id}:jobs", job_id)
        assert raw is not None
        return json.loads(raw)

    def counters(self, run: Run) -> dict[str, int]:
        """Of a run."""
        names = ("job_count", "failed_jobs", "success_jobs", "retried_jobs", "lost_jobs")
        values = self.client.hmget(f"jobmon:command:metrics:{run.command}:{run.id}", *names)
        return {name: int(value or 0) for name, value in zip(names, values, strict=True)}
