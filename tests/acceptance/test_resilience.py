"""What happens twice, late, or without a Redis: acceptance lines S14, S19, S77, S79, S80."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from jobmon.model import Stage, Status, Transition
from jobmon.settings import KEYS, load
from jobmon.store.connection import connect
from jobmon.store.reader import Reader
from jobmon.store.writer import Writer
from tests.conftest import RedisServer

pytestmark = pytest.mark.live

DOWN = "redis://127.0.0.1:1/0"


def run(*argv: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        argv,
        env={**os.environ, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_s14_a_transition_twice_or_late_changes_nothing(store: RedisServer) -> None:
    settings = load({"redis.url": store.url}, environ={})
    client = connect(settings)
    writer, reader = Writer(client, settings), Reader(client, settings)
    run_id = str(uuid.uuid4())

    def transition(status: Status, stages: Stage, outcome: str = "") -> Transition:
        return Transition(
            process_id=run_id,
            command="data:process",
            manual=False,
            job_id="job-1",
            engine="celery",
            queue="default",
            job_name="app.tasks.add",
            status=status,
            outcome=outcome,
            attempt=1,
            delivery=0,
            stages=stages,
            at_ms=int(time.time() * 1000),
            execution_us=420_000 if outcome else 0,
            queue_time_us=30_000 if outcome else -1,
            peak_memory_bytes=10_485_760 if outcome else 0,
            error_type="",
            body=b'"queue":"default","class":"app.tasks.add"}',
        )

    pending = transition(Status.PENDING, Stage.ENQUEUED)
    completed = transition(Status.COMPLETED, Stage.STARTED | Stage.ENDED, "completed")
    writer.apply([pending, completed])

    def state() -> tuple[object, ...]:
        return (
            reader.job(run_id, "job-1"),
            {
                key: value
                for key, value in client.hgetall(
                    f"jobmon:command:metrics:data:process:{run_id}"
                ).items()
                if key != b"last_update"
            },
            client.hgetall("jobmon:totals:jobs"),
        )

    before = state()
    writer.apply([completed])
    writer.apply([pending])
    writer.apply([pending, completed, completed])
    assert state() == before
    counters = reader.run_counters(run_id, "data:process")
    assert counters is not None
    assert (counters.job_count, counters.success_jobs) == (1, 1)
    client.close()


def test_s19_with_redis_down_jobs_run_and_finish(store: RedisServer) -> None:
    program = f"""
    import os, time, redis, jobmon
    jobmon.instrument()
    from rq import Queue, SimpleWorker
    queue = Queue("default", connection=redis.Redis.from_url({store.url!r}))
    began = time.monotonic()
    with jobmon.command("data:process"):
        jobs = [queue.enqueue(os.getpid) for _ in range(50)]
    enqueued = time.monotonic() - began
    SimpleWorker([queue], connection=queue.connection).work(burst=True)
    assert all(job.return_value() == os.getpid() for job in jobs)
    print(enqueued)
    """
    began = time.monotonic()
    ran = run(sys.executable, "-c", textwrap.dedent(program), JOB_MONITOR_REDIS_URL=DOWN)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.splitlines()[-1]) < 2.0, "publishing waited for the store"
    assert "Traceback" not in ran.stderr
    assert time.monotonic() - began < 30


def test_s77_run_exits_as_its_command_does(store: RedisServer) -> None:
    jobmon = (sys.executable, "-m", "jobmon.cli.main", "run")
    assert run(*jobmon, "x", "--", "false", JOB_MONITOR_REDIS_URL=store.url).returncode == 1
    with store.client() as client:
        (ended,) = (
            json.loads(entry) for entry in client.hgetall("jobmon:commands:finished").values()
        )
    assert (ended["command"], ended["exit_code"]) == ("x", 1)
    assert run(*jobmon, "x", "--", "false", JOB_MONITOR_REDIS_URL=DOWN).returncode == 1
    assert run(*jobmon, "x", "--", "true", JOB_MONITOR_REDIS_URL=DOWN).returncode == 0


def test_s10_a_signal_under_run_is_128_and_its_number(store: RedisServer) -> None:
    killed = run(
        *(sys.executable, "-m", "jobmon.cli.main", "run", "x", "--", "sh", "-c", "kill -TERM $$"),
        JOB_MONITOR_REDIS_URL=store.url,
    )
    assert killed.returncode == 143
    with store.client() as client:
        (ended,) = (
            json.loads(entry) for entry in client.hgetall("jobmon:commands:finished").values()
        )
    assert ended["exit_code"] == 143


def test_s79_every_setting_has_a_variable_and_a_source(store: RedisServer, tmp_path: Path) -> None:
    secret = "hunter2-hunter2"
    url = store.url.replace("redis://", f"redis://:{secret}@")
    ran = run(
        *(sys.executable, "-m", "jobmon.cli.main", "doctor", "--format", "json"),
        cwd=tmp_path,
        JOB_MONITOR_REDIS_URL=url,
        JOB_MONITOR_TRACKING_TTL="90000",
    )
    assert secret not in ran.stdout + ran.stderr
    shown = {row["key"]: row for row in json.loads(ran.stdout)["settings"]}
    assert set(shown) == set(KEYS)
    assert (shown["tracking_ttl"]["value"], shown["tracking_ttl"]["source"]) == (
        "90000",
        "JOB_MONITOR_TRACKING_TTL",
    )


def test_s80_a_worker_with_a_bad_setting_warns_and_works(store: RedisServer) -> None:
    program = """
    import logging
    logging.basicConfig()
    import jobmon
    jobmon.instrument()
    with jobmon.command("data:process"):
        pass
    """
    ran = run(
        *(sys.executable, "-c", textwrap.dedent(program)),
        JOB_MONITOR_REDIS_URL=store.url,
        JOB_MONITOR_TRACKING_TTL="soon",
    )
    assert ran.returncode == 0, ran.stderr
    assert "tracking_ttl" in ran.stderr
    assert "soon" in ran.stderr
    with store.client() as client:
        assert client.hlen("jobmon:commands:finished") == 1
