"""A history of runs, a store, and an analyzer of both."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jobmon.analysis.analyzer import Analyzer
from jobmon.analysis.report import Report
from jobmon.history import migrate, rows
from jobmon.history.rows import Row
from jobmon.history.schema import tables
from jobmon.history.write import Batch, History
from jobmon.model import Beat, RunTransition
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.beats import Beats
from jobmon.store.keys import ANALYSIS
from jobmon.store.lease import Lease
from jobmon.store.series import SEPARATOR
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.databases import Database

HOUR = 3600.0
OWN = tables("")


class Evaluated:
    """Fills the history as a sync would, and evaluates it."""

    def __init__(self, settings: Settings, client: Any, engine: sa.Engine) -> None:
        self.settings = settings
        self.client = client
        self.engine = engine
        self.analyzer = Analyzer(engine, client, settings)
        self._history = History(engine, OWN, "tests", lambda: "store")
        self._version = int(time.time() * 1e6)
        self.now = time.time()
        """When the runs that are written next have ended, in Unix seconds."""

    def steady(
        self, command: str = "data:process", many: int = 20, every: float = HOUR, **more: Any
    ) -> list[str]:
        """Runs that are all alike but for one percent, the last of them so long ago."""
        jobs, seconds = more.pop("jobs", 50), more.pop("seconds", 10.0)
        given: list[dict[str, Any]] = [
            {"jobs": jobs, "seconds": seconds * (1 + 0.01 * (at % 5 - 2)), **more}
            for at in range(many)
        ]
        return self.runs(command, given, every=every)

    def runs(self, command: str, given: Sequence[dict[str, Any]], every: float = HOUR) -> list[str]:
        """Runs, the oldest first; the last one started ``every`` seconds ago."""
        count = len(given)
        made = [self.row(command, ago=(count - at) * every, **one) for at, one in enumerate(given)]
        self._history.write(1, Batch(runs=list(made)))
        return [str(row["process_id"]) for row in made]

    def run(self, command: str = "data:process", ago: float = 0.0, **more: Any) -> str:
        """One that has just ended."""
        row = self.row(command, ago=ago, **{"jobs": 50, "seconds": 10.0, **more})
        self._history.write(1, Batch(runs=[row]))
        return str(row["process_id"])

    def row(
        self,
        command: str,
        *,
        ago: float,
        jobs: int = 50,
        seconds: float = 10.0,
        failed: int = 0,
        peak: int = 100_000_000,
        process_id: str = "",
        drained: bool = True,
        ahead: float = 0.0,
        **about: Any,
    ) -> Row:
        """Its row; ``ahead`` is its worker's clock."""
        process_id = process_id or str(uuid.uuid4())
        born = self.now - ago
        started = born + ahead
        known = {
            "run": json.dumps({"source": "console", "duration": seconds, **about}),
            "status": "completed",
            "job_count": str(jobs),
            "success_jobs": str(jobs - failed),
            "failed_jobs": str(failed),
            "total_job_time": str(seconds),
            "peak_memory": str(peak),
            "started_at": f"{started:.6f}",
            "finished_at": f"{started + 1:.6f}",
            "exit_code": "0",
            "born": str(int(born * 1e6)),
        }
        if drained:
            known["drained_at"] = f"{started + 1:.6f}"
        self._version += 1
        return rows.run(process_id, command, self._version, known, datetime.now(UTC))

    def write(self, batch: Batch) -> None:
        """As a sync does."""
        self._history.write(1, batch)

    def start(self, command: str = "data:process", ago: float = 0.0) -> str:
        """A run that goes on."""
        process_id = str(uuid.uuid4())
        started = time.time() - ago
        known = {"id": process_id, "command": command, "source": "console", "app": "default"}
        known |= {"environment": "production", "trace_id": "ab" * 16}
        body = json.dumps({**known, "started_at": started, "arguments": {}, "options": {}}).encode()
        writer = Writer(self.client, self.settings)
        at_ms = int(started * 1000)
        writer.apply([RunTransition(process_id, command, "running", "", at_ms, 0, 0, body)])
        return process_id

    def finish(self, process_id: str, command: str = "data:process") -> None:
        """That run, ended."""
        body = json.dumps({"id": process_id, "command": command, "exit_code": 0}).encode()
        at_ms = int(time.time() * 1000)
        done = RunTransition(process_id, command, "completed", "completed", at_ms, 1, 0, body)
        Writer(self.client, self.settings).apply([done])

    def scheduler(
        self, *entries: dict[str, Any], engine: str = "celery", kind: str = "beat", ago: float = 0.0
    ) -> None:
        """One that tells of its entries, and whose loop turned so long ago."""
        about = {"engine": engine, "kind": kind, "app": "default"}
        said = about | {"name": "shop", "hostname": "web-1", "pid": 7, "entries": len(entries)}
        beats = [Beat("scheduler", "a", int(ago * 1000), json.dumps(said).encode())]
        for entry in entries:
            body = json.dumps(about | entry).encode()
            beats.append(Beat("schedule", f"a{SEPARATOR}{entry['name']}", 0, body))
        assert Beats(self.client, self.settings).send(beats).taken == len(beats)

    def judge_all(self) -> None:
        """Take what there is for judged, as in a history that was analyzed all along."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(OWN.command_metrics).values(analyzed_at=OWN.command_metrics.c.drained_at)
            )

    def age(self, by: timedelta) -> None:
        """As if all runs had started so much earlier."""
        own = OWN.command_metrics
        with self.engine.begin() as connection:
            for row_id, start in connection.execute(sa.select(own.c.id, own.c.started_at)).all():
                earlier = sa.update(own).where(own.c.id == row_id)
                connection.execute(earlier.values(started_at=start - by))

    def analyze(self, **more: Any) -> Report:
        """All of it, under the lease."""
        lease = Lease(self.client, self.settings, ANALYSIS)
        token = lease.acquire()
        assert token is not None
        try:
            return self.analyzer.analyze(token, **more)
        finally:
            lease.release(token)

    def analyze_new(self) -> Report:
        """What is new."""
        lease = Lease(self.client, self.settings, ANALYSIS)
        token = lease.acquire()
        assert token is not None
        try:
            return self.analyzer.analyze_new(token)
        finally:
            lease.release(token)

    def incidents(self) -> list[dict[str, Any]]:
        """Rows of ``anomalies``, the oldest first."""
        return self._rows(OWN.anomalies)

    def events(self) -> list[dict[str, Any]]:
        """Bodies of the events, the oldest first."""
        return [json.loads(row["body"]) for row in self._rows(OWN.anomaly_events)]

    def turns(self) -> list[tuple[str, str]]:
        """State and type of each event."""
        return [(one["state"], one["anomaly_type"]) for one in self.events()]

    def _rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.engine.connect() as reading:
            found = reading.execute(sa.select(table).order_by(table.c.id))
            return [dict(row) for row in found.mappings()]


@contextmanager
def evaluated(own_database: Database, store: RedisServer, **more: object) -> Iterator[Evaluated]:
    """With settings by key, ``__`` for the dot."""
    settings = own_database.settings(redis__url=store.url, **more)
    migrate.prepare(settings)
    client = connection.connect(settings)
    try:
        with own_database.engine() as engine:
            yield Evaluated(settings, client, engine)
    finally:
        client.close()
