"""The replayable message of a failed RQ job: kept, bounded, and enough to run the job again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import (
    CLASSES,
    Run,
    Signals,
    command,
    produce,
    rq_worker,
    wait_for,
)

pytestmark = pytest.mark.live

REPLAY = """
import base64, json, pickle, sys, time, zlib
from datetime import UTC, datetime
import redis
def refused(*args, **kwargs):
    raise AssertionError("somebody unpickles")
pickle.loads = pickle.load = pickle.Unpickler = refused
store = redis.Redis(port={port}, db=0)
message = json.loads(store.get("jobmon:job:message:{job_id}"))
assert message["v"] == 1 and message["engine"] == "rq"
assert message["redis"] == {{"host": "127.0.0.1", "port": {port}, "db": 1}}, message["redis"]
broker = redis.Redis(**message["redis"])
job_id, queue, prefix = message["id"], message["queue"], message["prefix"]
fields = {{name: base64.b64decode(value) for name, value in message["fields"].items()}}
fields["status"] = "queued"
fields["enqueued_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
assert not broker.exists(prefix + "job:" + job_id)
with broker.pipeline() as pipeline:
    pipeline.hset(prefix + "job:" + job_id, mapping=fields)
    pipeline.sadd(prefix + "queues", prefix + "queue:" + queue)
    pipeline.rpush(prefix + "queue:" + queue, job_id)
    pipeline.execute()
assert "rq" not in sys.modules and not any(name.startswith("tests") for name in sys.modules)
"""


def replay(store: RedisServer, job_id: str, folder: Path) -> None:
    """Push a job again in a process that knows nothing but its message."""
    with store.client(db=1) as client:
        assert client.delete(f"rq:job:{job_id}") == 1
    ran = subprocess.run(
        [sys.executable, "-c", REPLAY.format(port=store.port, job_id=job_id)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def message(store: RedisServer, job_id: str) -> dict[str, Any] | None:
    with store.client() as client:
        stored = client.get(f"jobmon:job:message:{job_id}")
    return None if stored is None else json.loads(stored)


def values(store: RedisServer, job_id: str) -> tuple[object, object]:
    """What RQ has of a job: its result and its meta."""
    return produce(
        store,
        f"""
        job = Job.fetch({job_id!r}, connection=connection)
        print(json.dumps([job.return_value(), job.meta]))
        """,
    )


@pytest.mark.parametrize("kind", list(CLASSES))
def test_a_failed_job_runs_again_from_its_message_alone(
    store: RedisServer, tmp_path: Path, kind: str
) -> None:
    with rq_worker(store, tmp_path, kind=kind):
        run = Run(
            store,
            command(store, "queue.enqueue(jobs.flaky, 1, meta={'mine': [1]}, description='x')"),
        )
        (failed,) = run.ended(1).values()
        assert failed["status"] == "failed"
        job_id = failed["id"]
        assert message(store, job_id) is not None
        replay(store, job_id, tmp_path)
        run.reached(1, {"completed"})
        wait_for(lambda: values(store, job_id)[0] == 2, "RQ has the result")
    assert values(store, job_id) == [2, {"mine": [1]}]


def test_a_lost_job_runs_again_from_its_message_alone(store: RedisServer, tmp_path: Path) -> None:
    with rq_worker(store, tmp_path):
        run = Run(store, command(store, "queue.enqueue(jobs.kill_itself_once, 'x')"))
        (lost,) = run.ended(1).values()
        assert lost["status"] == "lost"
        replay(store, lost["id"], tmp_path)
        run.reached(1, {"completed"})


def test_a_job_given_up_by_another_process_runs_again_from_its_message_alone(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    with rq_worker(store, tmp_path) as worker:
        run = Run(store, command(store, "queue.enqueue(jobs.held, 'given up')"))
        horse = signals.wait_at("given up")
        worker.stop(signal.SIGKILL)
        os.kill(horse, signal.SIGKILL)
    produce(store, "import time\nqueue.started_job_registry.cleanup(time.time() + 100_000)")
    (lost,) = run.reached(1, {"lost"}).values()
    replay(store, lost["id"], tmp_path)
    signals.go("given up")
    with rq_worker(store, tmp_path, "--burst", ready=False):
        run.reached(1, {"completed"})


def test_a_job_of_another_serializer_runs_again_from_its_message_alone(
    store: RedisServer, tmp_path: Path
) -> None:
    serializer = "rq.serializers.JSONSerializer"
    body = f"Queue('work', connection=connection, serializer={serializer!r}).enqueue(jobs.flaky, 1)"
    with rq_worker(store, tmp_path, "--serializer", serializer):
        run = Run(store, command(store, body))
        (failed,) = run.ended(1).values()
        replay(store, failed["id"], tmp_path)
        run.reached(1, {"completed"})


def test_a_job_performed_in_place_leaves_its_message_too(
    store: RedisServer, tmp_path: Path
) -> None:
    body = "Queue('work', is_async=False, connection=connection).enqueue(jobs.flaky, 1)"
    run = Run(store, command(store, body))
    (failed,) = run.ended(1).values()
    replay(store, failed["id"], tmp_path)
    with rq_worker(store, tmp_path, "--burst", ready=False):
        run.reached(1, {"completed"})


def test_only_failures_leave_a_message_and_not_too_large_a_one(
    store: RedisServer, tmp_path: Path
) -> None:
    body = """
    import random
    queue.enqueue(jobs.add, 1, job_id="good")
    queue.enqueue(jobs.fail, "no", job_id="bad")
    queue.enqueue(jobs.fail, random.randbytes(300_000), job_id="large")
    queue.enqueue(jobs.flaky, 1, retry=Retry(max=1), job_id="retried")
    """
    run = Run(store, command(store, body))
    with rq_worker(store, tmp_path, "--burst", ready=False):
        run.ended(4)
    assert message(store, "bad") is not None
    assert [message(store, name) for name in ("good", "large", "retried")] == [None] * 3
    with store.client() as client:
        dropped = client.hgetall("jobmon:totals:recorder")
    assert dropped[b"dropped:message"] == b"1"


def test_no_message_is_kept_where_none_is_wanted(store: RedisServer, tmp_path: Path) -> None:
    unwanted = {"JOB_MONITOR_FAILED_STORE_MESSAGE": "false"}
    run = Run(store, command(store, "queue.enqueue(jobs.fail, 'no', job_id='bad')"))
    with rq_worker(store, tmp_path, "--burst", ready=False, **unwanted):
        run.ended(1)
    assert message(store, "bad") is None


def test_a_message_says_nothing_of_the_execution_and_holds_no_password(
    store: RedisServer, tmp_path: Path
) -> None:
    run = Run(store, command(store, "queue.enqueue(jobs.fail, 'no', job_id='bad')"))
    with rq_worker(store, tmp_path, "--burst", ready=False):
        run.ended(1)
    found = message(store, "bad")
    assert found is not None
    fields = found["fields"].keys()
    assert {"created_at", "data", "origin", "jobmon", "timeout"} <= fields
    assert not {"status", "started_at", "worker_name", "enqueued_at", "exc_info"} & fields
    assert found["redis"].keys() <= {"host", "port", "db", "path"}
