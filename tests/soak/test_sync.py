"""``jobmon sync`` killed at random points: in the end the rows are those of one clean run."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.databases import KINDS, Database, made
from tests.history.copied import Copies, copies
from tests.serving import Recorded
from tests.soak.conftest import Told
from tests.soak.page import FULL
from tests.syncing import started

KILLS = 20 if FULL else 2
RECORDS = 10_000 if FULL else 1_000
RUNS = RECORDS // 100
TABLES = ("command_metrics", "job_metrics", "job_attempts", "failed_jobs")

pytestmark = [pytest.mark.soak, pytest.mark.live]


def fill(recorded: Recorded) -> None:
    """Runs and jobs of every end, some of them of several attempts, some of no run."""
    for at in range(RUNS):
        run = recorded.run(f"data:{at % 7}")
        ids = run.jobs(70, Outcome.COMPLETED, seconds=0.1 + at / 64)
        failed = run.jobs(16, Outcome.FAILED, seconds=0.25)
        run.jobs(2, Outcome.REVOKED)
        run.jobs(2, Outcome.LOST)
        for attempt in (2, 3):
            later = [
                run.transition(one, Status.COMPLETED, Stage.ENDED, Outcome.COMPLETED, seconds=0.5)
                for one in (ids[0], *failed[:4])
            ]
            recorded.write(*[one._replace(attempt=attempt) for one in later])
        recorded.write(*[run.ended(f"{run.id}-{n}")._replace(manual=True) for n in range(10)])
        if at % 5:
            run.end()


def snapshot(client: Any) -> dict[bytes, tuple[bytes, int]]:
    now = int(time.time() * 1000)
    found: dict[bytes, tuple[bytes, int]] = {}
    for key in client.scan_iter(count=1000):
        left = client.pttl(key)
        found[key] = client.dump(key), now + left if left > 0 else 0
    return found


def restore(client: Any, keys: dict[bytes, tuple[bytes, int]]) -> None:
    client.flushall()
    for key, (value, until) in keys.items():
        client.restore(key, until, value, absttl=until > 0)


def everything(history: Copies) -> dict[str, list[dict[str, Any]]]:
    return {name: history.rows(name) for name in TABLES}


def rows(engine: sa.Engine, history: Copies) -> int:
    with engine.connect() as reading:
        own = history.tables.job_metrics
        return reading.scalar(sa.select(sa.func.count()).select_from(own)) or 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_sync_that_is_killed_again_and_again_leaves_the_rows_of_a_clean_one(
    kind: str, recorded: Recorded, store: RedisServer, tmp_path: Path, told: Told
) -> None:
    fill(recorded)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with made(kind, tmp_path) as clean, made(kind, _own_folder(tmp_path)) as killed:
        with copies(store, clean) as history:
            keys = snapshot(history.client)
            report = history.sync()
            history.copy_failures()
            expected = everything(history)
            restore(history.client, keys)
        assert report.skipped == 0
        assert len(expected["command_metrics"]) == RUNS
        jobs = len(expected["job_metrics"])
        assert jobs == RUNS * 98
        with copies(store, killed) as history:
            for number in range(1, KILLS + 1):
                life(history, store, killed, chance, jobs * number // (KILLS + 1))
            left = history.client.zcard("jobmon:unsynced")
            last = started(store, killed.url)
            said, _ = last.communicate(timeout=600)
            assert last.returncode == 0, said
            assert everything(history) == expected
            assert history.client.zcard("jobmon:unsynced") == 0
            assert history.client.zcard("jobmon:failures") == 0
        assert left > 0
    told(kills=KILLS, records=RECORDS, database=kind, seed=seed)


def life(
    history: Copies, store: RedisServer, database: Database, chance: random.Random, most: int
) -> None:
    """A sync, killed when about so many rows are there: in a statement, a commit, or between."""
    process = started(store, database.url, "--batch-size=50", SYNC_CHUNK_DELAY_MS="2")
    try:
        deadline = time.monotonic() + 120
        while rows(history.engine, history) < most and process.poll() is None:
            assert time.monotonic() < deadline
        process.poll() or time.sleep(chance.uniform(0, 0.02))
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -9, "it was done before it was killed"
    history.client.delete("jobmon:lease:sync", "jobmon:lease:leader")  # as they end by themselves


def _own_folder(path: Path) -> Path:
    made_here = path / "killed"
    made_here.mkdir()
    return made_here
