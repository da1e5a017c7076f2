"""Celery and RQ side by side, under a prefix of their own: S2, S20-S22, S87, S91."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jobmon.store.keys import TABLE
from tests.conftest import RedisServer
from tests.live.celery_fixtures import (
    ROOT,
    Producer,
    Run,
    Signals,
    Worker,
    celery_worker,
    wait_for,
)
from tests.live.rq_fixtures import Worker as RqWorker
from tests.live.rq_fixtures import rq_worker
from tests.serving import Served, environment, until

pytestmark = pytest.mark.live

ENGINES = "tests.live.apps.engines"
PREFIX = "acceptance/a.b:"
SETTINGS = {
    "JOB_MONITOR_REDIS_PREFIX": PREFIX,
    "JOB_MONITOR_ARGUMENTS_RECORD": "all",
    "PYTHONPATH": os.pathsep.join((str(ROOT / "tests/live/apps/watched"), str(ROOT))),
}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
PARTS = {
    "command": "data:process",
    "processId": UUID,
    "jobId": UUID,
    "series": r"\d+",
    "name": "leader|sync",
    "engine": "celery|rq",
    "token": "[0-9a-f]+",
    "kind": "api|failures",
    "who": ".+",
}
ELSEWHERE = {
    *("schedulers", "schedulers:beats", "schedules", "schedules:seen", "workers:lost"),
    *("lease:<name>", "totals:sync", "synced", "dead-letters", "rate:<kind>:<who>"),
    *("retries:pushing:<token>", "retries:claims", "retries:open", "retries:of:<processId>"),
    *("totals:analysis", "anomalies:events", "anomalies:added", "anomalies:shown"),
    *("totals:deliveries", "bounds:commands", "bounds:queues", "bounds:queue-samples"),
    *("queues:depth:<engine>", "queues:polled:<engine>", "exemplars"),
}
"""Keys of schedulers, and of a server: verdicts, limits, retries, what it copied, judged, polled;
and exemplars, of sampled jobs."""
LATER = {"jobs:known"}
"""Jobs that a worker knows: told some seconds after its start, which may be after the end here."""


class Both(NamedTuple):
    """A worker of each engine, and a process that publishes for both."""

    server: RedisServer
    celery: Worker
    rq: RqWorker
    producer: Producer

    def command(self, body: str, say: str = "None") -> tuple[Run, Any]:
        """Run a command; returns its run and what an expression says."""
        run, said = self.producer.command(body, say)
        return Run(self.server, run.process_id, prefix=PREFIX), said

    def keys(self) -> dict[str, str]:
        """Every key of the store's database and its type."""
        with self.server.client() as client:
            kinds = {name.decode(): client.type(name).decode() for name in client.scan_iter()}
        return {name: kind for name, kind in kinds.items() if kind != "none"}  # gone meanwhile


@pytest.fixture(scope="module")
def both(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with redis_server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp
    with (
        celery_worker(redis_server, folder("celery"), "-I", ENGINES, **SETTINGS) as celery,
        rq_worker(redis_server, folder("rq"), **SETTINGS) as rq,
        ExitStack() as stack,
    ):
        producer = Producer(redis_server, ENGINES, **SETTINGS)
        stack.callback(producer.close)
        yield Both(redis_server, celery, rq, producer)


def test_s2_both_engines_sum_into_one_job_count_however_they_nest(both: Both) -> None:
    run, _ = both.command("from_celery.delay(1)\nrq_jobs.queue.enqueue(from_rq, 1)")
    jobs = run.ended(4 + 3)
    # Celery -> RQ -> Celery -> RQ, and RQ -> Celery -> RQ.
    assert sorted(job["engine"] for job in jobs.values()) == ["celery"] * 3 + ["rq"] * 4
    assert {job["process_id"] for job in jobs.values()} == {run.process_id}
    roots = [job for job in jobs.values() if "parent_id" not in job]
    assert len(roots) == 2
    for job in jobs.values():
        assert job["root_id"] in {root["id"] for root in roots}
        if "parent_id" in job:
            assert jobs[job["parent_id"]]["engine"] != job["engine"]
    assert int(run.counters()["job_count"]) == 7
    run.check_counters()


def _lives(run: Run) -> dict[str, int]:
    """Seconds that each key of the run has left, by its name without the prefix and the id."""
    with run.server.client() as client:
        names = [f"{run.prefix}command:metrics:{run.name}:{run.process_id}"]
        names += [
            name.decode() for name in client.scan_iter(f"{run.prefix}command:{run.process_id}:*")
        ]
        lives = {
            name.replace(run.process_id, "").removeprefix(run.prefix): client.ttl(name)
            for name in names
        }
    assert {"command::jobs", f"command:metrics:{run.name}:"} <= set(lives)
    return lives


def test_s21_keys_live_as_long_as_what_is_open_completed_or_failed_asks_for(both: Both) -> None:
    held, _ = both.command("celery_app.held.delay('s21')\ncelery_app.add.delay(1)")
    signals = Signals(both.server)
    signals.wait_at("s21")
    wait_for(lambda: [job["status"] for job in held.named("add")] == ["completed"], "add ran")
    assert all(86_000 < life <= 86_400 for life in _lives(held).values()), _lives(held)
    signals.go("s21")
    held.ended(2)
    good, _ = both.command(
        """
        celery_app.add.delay(1)
        celery_app.flaky.delay(1)
        rq_jobs.queue.enqueue(rq_jobs.add, 1)
        """
    )
    good.ended(3)
    bad, _ = both.command(
        """
        celery_app.add.delay(1)
        rq_jobs.queue.enqueue(rq_jobs.fail, "no")
        """
    )
    bad.ended(2)
    for run in (held, good, bad):
        wait_for(lambda run=run: "finished_at" in run.counters(), "the command's end is written")
    assert "command::attempts" in _lives(good)
    for run in (held, good):
        assert all(3_500 < life <= 3_600 for life in _lives(run).values()), _lives(run)
    assert all(172_000 <= life <= 172_800 for life in _lives(bad).values()), _lives(bad)


def test_s22_every_key_is_in_the_table_and_has_the_prefix(both: Both) -> None:
    both.producer.run(
        """
        celery_app.nest.delay(1)
        rq_jobs.queue.enqueue(rq_jobs.nest, 1)
        celery_app.flaky.delay(1)
        """
    )
    held, found = both.producer.command(
        """
        import redis, time
        celery_app.held.delay("s22")
        celery_app.flaky.delay(1)
        celery_app.fail.delay("no")
        rq_jobs.queue.enqueue(rq_jobs.flaky, 1, retry=rq_jobs.Retry(max=1))
        rq_jobs.queue.enqueue(rq_jobs.fail, "no")
        store = redis.Redis.from_url(rq_jobs.URL)
        found = {}
        deadline = time.monotonic() + 30
        def all_seen():
            return all(any(one in name for name in found) for one in ("processing:", ":running"))
        while not all_seen():
            assert time.monotonic() < deadline
            found |= {name.decode(): store.type(name).decode() for name in store.scan_iter()}
            found = {name: kind for name, kind in found.items() if kind != "none"}
        """,
        "found",
    )
    Signals(both.server).go("s22")
    Run(both.server, held.process_id, prefix=PREFIX).ended(5)
    with both.server.client() as client:
        manual = f"{PREFIX}job:attempts:*"
        wait_for(lambda: list(client.scan_iter(manual)), "a job of no run was tried again")
    found |= both.keys()
    patterns = {
        key: re.compile(re.sub(r"<(\w+)>", lambda part: PARTS[part[1]], key.name)) for key in TABLE
    }
    assert {name for name in found if not name.startswith(PREFIX)} == set()
    written: set[str] = set()
    for name, kind in found.items():
        named = [
            key for key, pattern in patterns.items() if pattern.fullmatch(name.removeprefix(PREFIX))
        ]
        assert [key.type for key in named] == [{"zset": "sorted set"}.get(kind, kind)], name
        written |= {key.name for key in named}
    assert written | LATER == {key.name for key in TABLE} - ELSEWHERE


def test_s20_what_is_switched_off_is_not_recorded_and_runs(both: Both, tmp_path: Path) -> None:
    publish = """
    with jobmon.command("data:process"):
        ids = [celery_app.add.apply_async((1,), queue="s20").id,
               rq_jobs.Queue("s20", connection=rq_jobs.connection).enqueue(rq_jobs.add, 1).id]
    said = ids
    """
    for switch, recorded in (("COMMANDS_ENABLED", "jobs"), ("JOB_CORRELATION_ENABLED", "runs")):
        prefix = f"s20-{recorded}:"
        settings = {
            **SETTINGS,
            f"JOB_MONITOR_MONITORING_{switch}": "false",
            "JOB_MONITOR_REDIS_PREFIX": prefix,
        }
        producer = Producer(both.server, ENGINES, **settings)
        try:
            of_celery, of_rq = producer.run(publish)
        finally:
            producer.close()
        folder = tmp_path / recorded
        (folder / "rq").mkdir(parents=True)
        with celery_worker(both.server, folder, "-Q", "s20", pool="solo", **settings) as celery:
            with rq_worker(
                *(both.server, folder / "rq", "--burst"), queue="s20", kind="simple", **settings
            ) as rq:
                rq.wait()
            with both.server.client(db=2) as results, both.server.client(db=1) as broker:
                name = f"celery-task-meta-{of_celery}"
                wait_for(lambda name=name: b'"SUCCESS"' in (results.get(name) or b""), "task ran")
                assert broker.hget(f"rq:job:{of_rq}", "status") == b"finished"
            celery.stop()  # writes what it has
        with both.server.client() as client:
            keys = {name.decode().removeprefix(prefix) for name in client.scan_iter(f"{prefix}*")}
        of_runs = {key for key in keys if key.startswith("commands:")}
        of_jobs = {key for key in keys if key.endswith(":jobs") or key.startswith("job:")}
        assert bool(of_runs) == (recorded == "runs"), keys
        assert bool(of_jobs) == (recorded == "jobs"), keys


def test_s87_secrets_reach_neither_redis_nor_sql_nor_the_api_nor_a_log(
    both: Both, tmp_path: Path
) -> None:
    process_id = both.producer.run(
        """
        with jobmon.command(
            "data:process",
            arguments={"api_key": "s3cr3t-a"},
            options={"u": "https://me:s3cr3t-b@h/"},
        ) as run:
            celery_fail_with_secrets.delay(password="s3cr3t-c", plain="Bearer s3cr3t-d")
            rq_jobs.queue.enqueue(fail_with_secrets, password="s3cr3t-c", plain="Bearer s3cr3t-d")
        said = run.id
        """
    )
    run = Run(both.server, process_id, prefix=PREFIX)
    jobs = run.ended(2)
    for job in jobs.values():
        assert job["arguments"]["kwargs"] == {
            "password": "[redacted]",
            "plain": "Bearer [redacted]",
        }
        assert job["error"]["class"] == "ValueError"
        assert job["error"]["message"].count("[redacted]") == 2
    with both.server.client() as client:
        # The message that is sent again is kept as it was, and never shown.
        names = [name for name in client.scan_iter() if b"job:message:" not in name]
        shown = b"".join(name + _content(client, name) for name in names)
    assert b"[redacted]" in shown
    assert b"s3cr3t" not in shown
    file = tmp_path / "history.db"
    settings = {"REDIS_PREFIX": PREFIX, "DATABASE_URL": f"sqlite:///{file}"}
    with Served(both.server.url, LOGGING_LEVEL="DEBUG", **settings) as served:
        until(lambda: served.get("stats").status_code == 200)
        until(lambda: served.data("stats")["total_failed"] >= 2)
        command = [sys.executable, "-m", "jobmon.cli.main", "sync"]
        env = environment(REDIS_URL=both.server.url, **settings)
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)
        paths = ("running", "finished", f"{run.process_id}/jobs", run.process_id)
        answers = [served.get(f"commands/{path}").text for path in paths]
        answers += [served.get(path).text for path in ("stats", "jobs/failed", "workers")]
        answers += [served.client.get("/metrics").text]
        logged = served.logged()
    assert answers[2].count("[redacted]") >= 2 * 4
    assert "s3cr3t" not in "".join(answers) + logged
    rows = _rows(file)
    assert {"command_metrics", "job_metrics", "failed_jobs"} <= {table for table, _ in rows}
    assert "[redacted]" in str(rows)
    assert "s3cr3t" not in str(rows)
    # What the engines themselves print of an exception is theirs.
    for log in (both.celery.log, both.rq.log):
        assert not [line for line in log.splitlines() if "jobmon" in line and "s3cr3t" in line]


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every row of a history and its table, but for the messages that are sent again."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        found = [
            (name, dict(row))
            for (name,) in names.fetchall()
            for row in connection.execute(f'SELECT * FROM "{name}"')
        ]
    for _, row in found:
        row.pop("message", None)
    return found


def _content(client: Any, name: bytes) -> bytes:
    """Everything a key holds."""
    kind = client.type(name)
    if kind == b"hash":
        return b"".join(part for pair in client.hgetall(name).items() for part in pair)
    if kind == b"zset":
        return b"".join(client.zrange(name, 0, -1))
    if kind == b"set":
        return b"".join(client.smembers(name))
    if kind == b"list":
        return b"".join(client.lrange(name, 0, -1))
    return client.get(name) or b""


def test_s91_nothing_heavy_is_loaded_by_us_in_a_producer_a_child_or_a_horse(both: Both) -> None:
    said = both.producer.run(
        """
        with jobmon.command("data:process"):
            of_celery = celery_asked_for.delay()
            of_rq = rq_jobs.queue.enqueue(asked_for)
        deadline = __import__("time").monotonic() + 30
        while of_rq.return_value(refresh=True) is None:
            assert __import__("time").monotonic() < deadline
        said = [asked_for(), of_celery.get(timeout=30), of_rq.return_value()]
        """
    )
    main = {both.celery.process.pid, both.rq.process.pid}
    for pid, asked in said:
        assert pid not in main
        assert "scipy by others" in asked, "nobody watched"
        assert not [one for one in asked if one.endswith(" by us")], asked
