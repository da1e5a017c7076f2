"""Three servers, of which the leader is killed or frozen again and again during a load."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import sqlalchemy as sa

from jobmon.history.schema import tables
from jobmon.model import Outcome
from jobmon.store.keys import LEADER
from jobmon.store.reader import Reader
from jobmon.store.sync_state import SyncState
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.serving import Recorded, Served, until
from tests.soak.conftest import Told
from tests.soak.page import FULL

TURNS = 10 if FULL else 2
"""Kills and standstills each."""
LONGEST_WITHOUT_SECONDS = 15.0
PER_RUN, FAILED_PER_RUN = 20, 4
OWN = tables("")

pytestmark = [pytest.mark.soak, pytest.mark.live, pytest.mark.timeout(600 * TURNS)]


class Load:
    """Runs that end with all their jobs, until told to stop."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.runs = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(0.1):
            run = self._recorded.run(f"load:{self.runs % 7}")
            run.jobs(PER_RUN - FAILED_PER_RUN, Outcome.COMPLETED, seconds=0.25)
            run.jobs(FAILED_PER_RUN, Outcome.FAILED, seconds=0.5)
            run.end()
            self.runs += 1


class Replicas:
    """Three servers on one store and one database."""

    def __init__(self, store: RedisServer, database: Database, recorded: Recorded) -> None:
        self._store, self._database, self._recorded = store, database, recorded
        self._open = ExitStack()
        self.servers: list[Served] = []

    def __enter__(self) -> Self:
        for _ in range(3):
            self.add()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.servers:
            one.process.send_signal(signal.SIGCONT)
        self._open.close()

    def add(self) -> None:
        server = Served(
            self._store.url,
            "--no-http",
            DATABASE_URL=self._database.url,
            SYNC_INTERVAL_MINUTES="1",
            SYNC_CHUNK_DELAY_MS="0",
            SYNC_BATCH_SIZE="50",
        )
        self.servers.append(self._open.enter_context(server))

    def state(self) -> SyncState:
        with self._recorded.client() as client:
            return Reader(client, self._recorded.settings).sync_state()

    def leader(self) -> Served:
        """Whoever leads, as soon as somebody does."""
        found: list[Served] = []

        def leads() -> bool:
            holder = self.state().holders[LEADER]
            if holder is not None:
                found[:] = [one for one in self.servers if one.process.pid == holder.pid]
            return bool(found)

        until(leads, 30)
        return found[0]

    def strike(self, number: int) -> tuple[Served, float]:
        """Send the leader a signal; it, and seconds until another one leads."""
        struck = self.leader()
        before = self.state().holders[LEADER]
        assert before is not None
        struck.process.send_signal(number)
        began = time.monotonic()

        def another_leads() -> bool:
            holder = self.state().holders[LEADER]
            return holder is not None and holder.token > before.token

        until(another_leads, 60)
        return struck, time.monotonic() - began

    def copy_now(self) -> None:
        """As if the interval had passed since the last pass began."""
        with self._recorded.client() as client:
            client.hincrby("jobmon:totals:sync", "began_ms", -60_000)


@contextmanager
def often(what: Callable[[], None]) -> Iterator[None]:
    """Do it four times a second."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.25):
            what()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def rows_of(engine: sa.Engine) -> dict[str, list[Any]]:
    """Every row of every table, with the times of its writing."""
    with engine.connect() as connection:
        return {
            table.name: list(connection.execute(sa.select(table).order_by(*table.primary_key)))
            for table in (OWN.command_metrics, OWN.job_metrics, OWN.failed_jobs, OWN.fence)
        }


def test_whatever_befalls_the_leader_the_work_is_done_once(
    recorded: Recorded, store: RedisServer, tmp_path: Path, told: Told
) -> None:
    waits: list[float] = []
    with (
        made("postgresql", tmp_path) as database,
        database.engine() as engine,
        Replicas(store, database, recorded) as replicas,
    ):
        with Load(recorded) as load, often(replicas.copy_now):
            for _ in range(TURNS):
                until(lambda: replicas.state().rows.get("job_metrics", 0) > 0, 60)
                killed, seconds = replicas.strike(signal.SIGKILL)
                waits.append(seconds)
                replicas.servers.remove(killed)
                replicas.add()
                frozen, seconds = replicas.strike(signal.SIGSTOP)
                waits.append(seconds)
                runs = load.runs
                until(lambda runs=runs: load.runs > runs + 5)
                frozen.process.send_signal(signal.SIGCONT)
                until(lambda one=frozen: "leads no longer" in one.logged(), 30)
            frozen, seconds = replicas.strike(signal.SIGSTOP)
            waits.append(seconds)
        replicas.copy_now()

        def settled() -> bool:
            state = replicas.state()
            return state.unsynced == state.failures_waiting == 0

        until(settled, 120)
        before = rows_of(engine)
        frozen.process.send_signal(signal.SIGCONT)
        until(lambda: "leads no longer" in frozen.logged().rpartition("this server leads:")[2], 30)
        assert rows_of(engine) == before
        runs, state = load.runs, replicas.state()
    told(takeovers=len(waits), runs=runs, longest_without_leader=f"{max(waits):.1f} s")
    assert max(waits) <= LONGEST_WITHOUT_SECONDS
    commands, jobs, failed = (before[t] for t in ("command_metrics", "job_metrics", "failed_jobs"))
    assert (len(commands), len(jobs), len(failed)) == (runs, PER_RUN * runs, FAILED_PER_RUN * runs)
    assert {(one.job_count, one.success_jobs, one.failed_jobs) for one in commands} == {
        (PER_RUN, PER_RUN - FAILED_PER_RUN, FAILED_PER_RUN)
    }
    assert sum(one.total_time for one in commands) == pytest.approx(6.0 * runs)
    assert (state.dead_letters_ever, state.expired_unsynced) == (0, 0)
