"""What happens twice, late, or without a Redis: acceptance lines S14, S19, S77, S79, S80."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from jobmon.model import Stage, Status, Transition
from jobmon.settings import KEYS, load
from jobmon.settings.explain import shown as in_words
from jobmon.settings.schema import MASK
from jobmon.store.connection import connect
from jobmon.store.reader import Reader
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, celery_worker, wait_for
from tests.live.rq_fixtures import rq_worker
from tests.settings.test_values import DIGEST, GOOD

pytestmark = pytest.mark.live

DOWN = "redis://127.0.0.1:1/0"
TIMED_CELERY = "tests.live.apps.timed_celery_app"
TIMED_RQ = "tests.live.apps.timed_rq_worker.TimedWorker"
JOBS = 25
RECORD_TIMEOUT_SECONDS = 0.5
MOST_PERIODS = 8
"""Waits between attempts to write begin with 0.1 s and double: so many take 25 s."""


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


def test_s19_jobs_run_where_redis_was_never_there_and_finish(store: RedisServer) -> None:
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


def test_s19_no_job_waits_for_a_redis_that_hangs_or_is_gone(
    store: RedisServer, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    state = {"JOB_MONITOR_REDIS_URL": own_redis_server.url}
    assert own_redis_server.process is not None
    for name in ("celery", "rq"):
        (tmp_path / name).mkdir()
    with (
        closing(Producer(store, "tests.live.apps.engines", **state)) as producer,
        celery_worker(store, tmp_path / "celery", app=TIMED_CELERY, **state) as celery,
        rq_worker(store, tmp_path / "rq", kind=TIMED_RQ, **state) as rq,
    ):
        usual = _seconds(producer, store)
        own_redis_server.process.send_signal(signal.SIGSTOP)
        try:
            hanging = _seconds(producer, store)
        finally:
            own_redis_server.process.send_signal(signal.SIGCONT)
        own_redis_server.stop()
        gone = _seconds(producer, store)
        assert celery.process.poll() is rq.process.poll() is None
        said = celery.log + rq.log
    assert "Traceback" not in said
    for seconds in (hanging, gone):
        for engine, each in seconds.items():
            assert max(each) <= max(usual[engine]) + RECORD_TIMEOUT_SECONDS
            extra = sum(each) - sum(usual[engine])
            assert extra <= MOST_PERIODS * RECORD_TIMEOUT_SECONDS, engine


def _seconds(producer: Producer, broker: RedisServer) -> dict[str, list[float]]:
    """Publish jobs in a command and see them succeed: how long each call and each job took."""
    program = """
    import time
    def timed(call):
        began = time.perf_counter()
        job = call()
        return [job.id, time.perf_counter() - began]
    with jobmon.command("data:process"):
        celery = [timed(lambda: celery_app.add.delay(n)) for n in range(JOBS)]
        rq = [timed(lambda: rq_jobs.queue.enqueue(rq_jobs.add, n)) for n in range(JOBS)]
    said = {"celery": celery, "rq": rq}
    """
    said = producer.run(program.replace("JOBS", str(JOBS)))
    found: dict[str, list[float]] = {"publish": []}
    with broker.client(db=3) as times, broker.client(db=1) as rq, broker.client(db=2) as celery:
        for engine, published in said.items():
            ids = [job_id for job_id, _ in published]
            found["publish"] += [seconds for _, seconds in published]
            wait_for(lambda ids=ids: None not in times.mget(ids), f"{engine} ran all", 60)
            found[engine] = [float(value) for value in times.mget(ids)]
            if engine == "rq":
                finished = [f"rq:job:{job_id}" for job_id in ids]
                wait_for(
                    lambda names=finished: {rq.hget(n, "status") for n in names} == {b"finished"},
                    "every RQ job succeeded",
                )
            else:
                stored = celery.mget([f"celery-task-meta-{job_id}" for job_id in ids])
                assert {json.loads(one)["status"] for one in stored} == {"SUCCESS"}
    return found


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


def test_s79_every_setting_has_a_variable_and_doctor_says_so(tmp_path: Path) -> None:
    texts = {name: text for name, (text, _) in GOOD.items()}
    values = {name: value for name, (_, value) in GOOD.items()}
    secret = "hunter2-hunter2"
    texts["redis.url"] = f"rediss://u:{secret}@127.0.0.1:1/3"
    texts["redis.password"] = secret
    values["redis.url"] = texts["redis.url"]
    assert set(texts) == set(KEYS)
    (tmp_path / "jobmon.toml").write_text('[redis.connections.cache]\nhost = "cache"\n')
    ran = run(
        *(sys.executable, "-m", "jobmon.cli.main", "doctor", "--format", "json"),
        cwd=tmp_path,
        **{KEYS[name].variable: text for name, text in texts.items()},
    )
    shown = {row["key"]: row for row in json.loads(ran.stdout)["settings"]}
    assert set(shown) == set(KEYS)
    for name, key in KEYS.items():
        assert shown[name]["source"] == key.variable
        if key.secret:
            assert MASK in shown[name]["value"], name
        else:
            assert shown[name]["value"] == in_words(key, values[name]), name
    for hidden in (secret, DIGEST):
        assert hidden not in ran.stdout + ran.stderr


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
