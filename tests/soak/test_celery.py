"""200,000 Celery jobs while children are killed: all are accounted for, nothing grows."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobmon.settings import Settings
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.live.celery_fixtures import celery_worker, environment, wait_for
from tests.soak.conftest import Told
from tests.soak.page import FULL
from tests.store.reference import recount

RUNS, JOBS = (20, 10_000) if FULL else (4, 2_500)
CHILDREN = 4
SECONDS_BETWEEN_KILLS = 2.0 if FULL else 1.0
COMMAND = "soak:publish"
APP = "tests.soak.celery_load"
QUEUE = "celery"
ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.soak, pytest.mark.live, pytest.mark.timeout(7200 if FULL else 600)]


def children_of(pid: int) -> list[int]:
    """Processes that it forked and that live."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Killer:
    """Kills a child that it picks, every second or so; the one it spares tells of memory."""

    def __init__(self, worker: int, spared: int) -> None:
        self._worker, self._spared = worker, spared
        self._random = random.Random(4)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.killed = 0

    def _run(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / SECONDS_BETWEEN_KILLS)):
            victims = [one for one in children_of(self._worker) if one != self._spared]
            if victims:
                os.kill(self._random.choice(victims), signal.SIGKILL)
                self.killed += 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


class Memory:
    """Resident bytes of processes against how many jobs are done."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._samples: dict[str, list[tuple[int, int]]] = {name: [] for name in pids}

    def sample(self, done: int) -> None:
        for name, pid in self._pids.items():
            self._samples[name].append((done, resident_bytes(pid)))

    def growth(self, since: int) -> dict[str, float]:
        """Bytes that each grows in 100,000 jobs, fitted over all samples since so many."""
        slopes: dict[str, float] = {}
        for name, samples in self._samples.items():
            x, y = zip(*[sample for sample in samples if sample[0] >= since], strict=True)
            slopes[name] = statistics.linear_regression(x, y).slope * 100_000
        return slopes

    def most_added(self, since: int) -> int:
        """Bytes that any of them added since so many jobs."""
        added = 0
        for samples in self._samples.values():
            sizes = [size for done, size in samples if done >= since]
            added = max(added, sizes[-1] - sizes[0])
        return added


def test_every_job_is_accounted_for_while_children_are_killed(
    own_redis_server: RedisServer, tmp_path: Path, told: Told
) -> None:
    server, total = own_redis_server, RUNS * JOBS
    broker = {"SOAK_BROKER": f"redis://127.0.0.1:{server.port}/1"}
    options = ("--concurrency", str(CHILDREN))
    with (
        server.client() as client,
        celery_worker(server, tmp_path, *options, app=APP, **broker) as worker,
    ):
        reader = Reader(client, Settings())
        pid = worker.process.pid
        spared = wait_for(lambda: children_of(pid), "children")[0]
        began = time.monotonic()
        producer = subprocess.Popen(
            [sys.executable, "-m", APP, "--runs", str(RUNS), "--jobs", str(JOBS)],
            cwd=ROOT,
            env=environment(server, **broker),
            stdout=subprocess.PIPE,
            text=True,
        )
        memory = Memory(producer=producer.pid, worker=pid, child=spared)
        killer = Killer(pid, spared)
        with killer.at_work():
            while producer.poll() is None:
                memory.sample(executions(reader))
                time.sleep(0.5)
        run_ids = producer.communicate()[0].split()
        assert producer.returncode == 0
        assert len(run_ids) == RUNS

        def settled() -> bool:
            counters = [reader.run_counters(run_id, COMMAND) for run_id in run_ids]
            still_open = sum(one.open_jobs for one in counters if one is not None)
            with server.client(db=1) as queue:
                return queue.llen(QUEUE) == 0 and still_open <= len(in_broker(server))

        wait_for(settled, "all jobs ended, or waiting in the broker", 120)
        seconds = time.monotonic() - began
        assert children_of(pid).count(spared) == 1
        records = check_jobs(server, run_ids)
        check_totals(reader, records)
        statuses = Counter(record["status"] for record in records)
        assert statuses.total() == total
        assert killer.killed > 3
        assert statuses["lost"] > 0 or not FULL  # few killed children had a job
        assert statuses["completed"] > 0.98 * total
        growth = memory.growth(since=total // 4)
        told(
            jobs=total,
            seconds=round(seconds),
            children_killed=killer.killed,
            **statuses,
            **{f"{name}_bytes_per_100,000_jobs": round(grown) for name, grown in growth.items()},
        )
        if FULL:
            assert max(growth.values()) < 1_000_000
        else:  # a step of the allocator is more than so few jobs may add
            assert memory.most_added(since=total // 4) < 4_000_000
        assert "jobmon.instrument" not in worker.log


def executions(reader: Reader) -> int:
    """How many ended so far."""
    return sum(sum(one.finished.values()) for one in reader.totals().jobs)


def in_broker(server: RedisServer) -> set[str]:
    """Ids of the jobs whose message waits, or was delivered and not acknowledged."""
    with server.client(db=1) as client:
        waiting = [json.loads(message) for message in client.lrange(QUEUE, 0, -1)]
        delivered = [json.loads(message)[0] for message in client.hvals("unacked")]
    return {message["headers"]["id"] for message in waiting + delivered}


def check_jobs(server: RedisServer, run_ids: list[str]) -> list[dict[str, Any]]:
    """Every job ended or waits; the counters of its run equal a recount. Returns all records."""
    known = in_broker(server)
    found: list[dict[str, Any]] = []
    with server.client() as client:
        for run_id in run_ids:
            raw = client.hgetall(f"jobmon:command:{run_id}:jobs")
            counters = client.hgetall(f"jobmon:command:metrics:{COMMAND}:{run_id}")
            counted = {name: counters.get(name.encode(), b"0").decode() for name in recount({})}
            assert counted == {name: str(value) for name, value in recount(raw).items()}
            records = {job_id.decode(): json.loads(record) for job_id, record in raw.items()}
            assert len(records) == JOBS
            for job_id, record in records.items():
                if record["status"] not in ("completed", "failed", "lost"):
                    assert record["status"] == "pending", record
                    assert job_id in known, record
            found += records.values()
    return found


def check_totals(reader: Reader, records: list[dict[str, Any]]) -> None:
    """What ``/metrics`` shows of all jobs follows from their records."""
    totals = reader.totals()
    assert totals.dropped == {}
    statuses = Counter((record["class"], record["status"]) for record in records)
    published = Counter(record["class"] for record in records)
    for one in totals.jobs:
        assert one.enqueued == published[one.job_name]
        assert one.finished.get("completed", 0) == statuses[one.job_name, "completed"]
        lost = one.finished.get("lost", 0) - one.lost_corrected
        assert lost == statuses[one.job_name, "lost"]
        assert one.pending == statuses[one.job_name, "pending"]
        assert one.processing == 0
    (command,) = totals.commands
    assert command.runs == {"completed": RUNS}
    for outcome in ("completed", "lost"):
        ended = sum(one.finished.get(outcome, 0) for one in totals.jobs)
        assert command.jobs_finished.get(outcome, 0) == ended
    assert command.open_jobs == sum(one.pending for one in totals.jobs)
