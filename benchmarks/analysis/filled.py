"""A history of so many commands, written as a sync does: run by run as time goes on.

A third of the commands have as many jobs each time, a third vary, a third have none. Durations are
lognormal. All but the newest run of each command were judged.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from jobmon.history import rows
from jobmon.history.rows import Row
from jobmon.history.schema import tables
from jobmon.history.write import Batch, History
from jobmon.settings import Settings

BROKEN: Final = 100
"""One of so many commands takes three times as long in its newest run."""
_BATCH: Final = 10_000
_SIGMA: Final = 0.08
_SETTLE: Final = {"sqlite": "ANALYZE", "postgresql": "VACUUM (ANALYZE)"}


class Filled:
    """Writes runs of ``commands`` commands."""

    def __init__(self, engine: sa.Engine, settings: Settings, commands: int) -> None:
        self.commands = commands
        self._engine = engine
        self._history = History(
            engine, tables(settings.database.table_prefix), "benchmark", lambda: "store"
        )
        self._random = np.random.default_rng(7)
        self._usual = np.exp(self._random.normal(2.0, 1.0, commands))
        self._version = 0
        now = datetime.now(UTC)
        known = {"run": '{"source":"schedule","host":"worker-1"}', "status": "completed"}
        self._row = rows.run("", "", 1, known, now) | {"queue_time": 0.5, "created_at": now}

    def fill(self, runs: int) -> None:
        """That many runs of each, the newest of which nobody has judged."""
        every = timedelta(days=25) / runs
        now = datetime.now(UTC)
        for ago in range(runs, 0, -1):
            self._write(range(self.commands), now - ago * every, is_judged=ago > 1)
            if ago in (1, runs):  # without statistics, what follows the first takes for ever
                self._settle()

    def _settle(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as settling:
            settling.exec_driver_sql(_SETTLE[self._engine.dialect.name])

    def add(self, commands: int) -> None:
        """A new run of the first so many."""
        self._write(range(commands), datetime.now(UTC), is_judged=False)

    def _write(self, commands: range, at: datetime, *, is_judged: bool) -> None:
        batch: list[Row] = []
        noise = np.exp(self._random.normal(0.0, _SIGMA, len(commands)))
        sizes = self._random.integers(20, 80, len(commands))
        for number in commands:
            batch.append(self._run(number, at, float(noise[number]), int(sizes[number]), is_judged))
            if len(batch) == _BATCH:
                self._history.write(1, Batch(runs=batch))
                batch = []
        self._history.write(1, Batch(runs=batch))

    def _run(self, number: int, at: datetime, noise: float, size: int, is_judged: bool) -> Row:
        self._version += 1
        jobs = (50, size, 0)[number % 3]
        is_broken = not is_judged and number % BROKEN == 0
        seconds = float(self._usual[number]) * noise * (3.0 if is_broken else 1.0)
        work = seconds * (jobs / 50 if jobs else 1.0)
        started = at + timedelta(seconds=number % 600)
        ended = started + timedelta(seconds=seconds)
        found: dict[str, Any] = self._row | {
            "process_id": str(uuid.UUID(int=self._version)),
            "command_name": f"app:command-{number}",
            "version": self._version,
            "job_count": jobs,
            "success_jobs": jobs,
            "total_time": work,
            "avg_job_time": work / jobs if jobs else 0.0,
            "duration": seconds,
            "peak_memory": int(1e8 * noise),
            "run_date": started.date(),
            "started_at": started,
            "finished_at": ended,
            "drained_at": ended,
            "analyzed_at": ended if is_judged else None,
        }
        return found
