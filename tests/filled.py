"""A history that tests fill, as sync would."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from jobmon.history import migrate, rows
from jobmon.history.schema import tables
from jobmon.history.write import Batch, History
from tests.databases import Database

DAY = 86_400.0


class Filled:
    """Writes rows into a database whose tables are made."""

    def __init__(self, history: History, url: str) -> None:
        self.url = url
        self._history = history
        self._version = 0

    def run(
        self,
        command: str = "data:process",
        *,
        jobs: int = 0,
        failed: int = 0,
        seconds: float = 0.0,
        peak: int = 0,
        ago: float = 60.0,
        partial: bool = False,
        **more: Any,
    ) -> str:
        """A run that ended; ``seconds`` is what its jobs took, or itself if it has none."""
        process_id = str(uuid.uuid4())
        started = time.time() - ago
        about = {"source": "console", "duration": seconds, **more}
        known = {
            "run": json.dumps(about),
            "status": "completed",
            "job_count": str(jobs),
            "success_jobs": str(jobs - failed),
            "failed_jobs": str(failed),
            "total_job_time": str(seconds),
            "peak_memory": str(peak),
            "started_at": f"{started:.6f}",
            "finished_at": f"{started + 1:.6f}",
            "drained_at": f"{started + 1:.6f}",
            "exit_code": "0",
            "born": str(int(started * 1e6)),
        }
        if partial:
            known["partial"] = "1"
        row = rows.run(process_id, command, self._next(), known, datetime.now(UTC))
        self._history.write(1, Batch(runs=[row]))
        return process_id

    def jobs(self, number: int = 1, status: str = "completed", **more: Any) -> list[str]:
        """Jobs that ended; failed ones are also among the failed jobs."""
        batch, ids = Batch(), [str(uuid.uuid4()) for _ in range(number)]
        now = datetime.now(UTC)
        for job_id in ids:
            process_id, record = self._record(status, **more)
            job = rows.job(process_id, job_id, self._next(), record, now)
            assert job is not None
            batch.jobs.append(job)
            if record.is_failed:
                batch.failed.append(rows.failed(process_id, job_id, self._next(), record, b"{}"))
        self._history.write(1, batch)
        return ids

    def attempt(self, process_id: str, job_id: str, **more: Any) -> None:
        """An attempt of a job before its latest."""
        _, record = self._record("retrying", process_id=process_id, **more)
        raw = json.dumps({**record.data, "outcome": "retried"}).encode()
        row = rows.attempt(process_id, job_id, self._next(), raw, datetime.now(UTC))
        self._history.write(1, Batch(attempts=[row]))

    def _record(
        self,
        status: str,
        *,
        process_id: str | None = None,
        command: str = "data:process",
        seconds: float = 0.42,
        queue_seconds: float | None = 0.03,
        memory: int = 10_485_760,
        ago: float = 30.0,
        **more: Any,
    ) -> tuple[str, rows.JobRecord]:
        process_id = process_id or str(uuid.uuid4())
        ended = time.time() - ago
        record: dict[str, Any] = {
            "status": status,
            "attempt": 1,
            "queue": "default",
            "class": "app.tasks.process_user",
            "command_name": command,
            "process_id": process_id,
            "engine": "celery",
            "started_at": ended - seconds,
            "finished_at": ended,
            "execution_time": seconds,
            "memory_usage": memory,
            **more,
        }
        if queue_seconds is not None:
            record["queue_time"] = queue_seconds
        return process_id, rows.read(json.dumps(record).encode())

    def _next(self) -> int:
        self._version += 1
        return self._version


@contextmanager
def filled(own_database: Database) -> Iterator[Filled]:
    """That database with its tables, to be filled."""
    settings = own_database.settings()
    migrate.prepare(settings)
    with own_database.engine() as engine:
        yield Filled(History(engine, tables(""), "tests", lambda: "store"), own_database.url)
