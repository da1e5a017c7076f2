"""The replayable message of a failed Celery job: kept, bounded, and enough to run the job again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Run, Worker, celery_worker, wait_for
from tests.serving import Served

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_messages"
REPLAY = """
import base64, json, pickle, sys
import kombu, redis
def refused(*args, **kwargs):
    raise AssertionError("somebody unpickles")
pickle.loads = pickle.load = pickle.Unpickler = refused
message = json.loads(redis.Redis(port={port}, db=0).get("jobmon:job:message:{job_id}"))
assert message["v"] == 1 and message["engine"] == "celery"
properties = message["properties"]
with kombu.Connection("redis://127.0.0.1:{port}/1") as connection:
    kombu.Producer(connection.channel(), auto_declare=False).publish(
        base64.b64decode(message["body"]),
        exchange=message["exchange"],
        routing_key=message["routing_key"],
        content_type=message["content_type"],
        content_encoding=message["content_encoding"],
        headers={{**message["headers"], "eta": None, "expires": None}},
        delivery_mode=properties.get("delivery_mode", 2),
        **{{
            name: properties[name]
            for name in ("correlation_id", "reply_to", "priority")
            if properties.get(name) not in (None, "")
        }},
    )
known = {{name.partition(".")[0] for name in sys.modules}}
assert not known & {{"celery", "jobmon", "tests"}}
"""


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("messages")
    # Celery wants to be told that root may unpickle.
    with celery_worker(redis_server, folder, app=APP, C_FORCE_ROOT="1") as running:
        yield running
        assert "jobmon: " not in running.log, running.log


@pytest.fixture(scope="module")
def producer(redis_server: RedisServer, worker: Worker) -> Iterator[Producer]:
    found = Producer(redis_server, APP)
    yield found
    found.close()


def message(store: RedisServer, job_id: str) -> dict[str, Any] | None:
    with store.client() as client:
        stored = client.get(f"jobmon:job:message:{job_id}")
    return None if stored is None else json.loads(stored)


def replay(store: RedisServer, job_id: str, folder: Path) -> None:
    """Push a job again in a process that knows nothing but its message."""
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


def reaches(run: Run, job_id: str, outcome: str) -> None:
    def reached() -> bool:
        record = run.jobs().get(job_id)
        return record is not None and record.get("outcome") == outcome

    wait_for(reached, f"{outcome}: {run.jobs()}", 60)


ENDS = {
    "json": ("fail", "", "failed"),
    "pickle": ("fail", "serializer='pickle', kwargs={'what': Parcel(3)}, link=add.s(1)", "failed"),
    "compressed": ("fail", "compression='zlib'", "failed"),
    "urgent": ("fail", "priority=5", "failed"),
    "late": ("fail", "countdown=0.1, expires=20", "failed"),
    "hung": ("hang", "time_limit=1", "timed_out"),
    "slow": ("hang", "soft_time_limit=1", "timed_out"),
    "killed": ("kill", "", "lost"),
    "vanished": ("vanish", "serializer='pickle', kwargs={'what': Parcel(3)}", "lost"),
    "rejected": ("reject", "", "rejected"),
}
"""How a job ends the first time, with what it is published, and its outcome then."""


@pytest.fixture(scope="module")
def published(producer: Producer) -> dict[str, tuple[Run, str]]:
    return {
        name: producer.command(
            f"job = once.apply_async(({name!r}, {how!r}), queue='celery', {options})", "job.id"
        )
        for name, (how, options, _) in ENDS.items()
    }


@pytest.mark.parametrize("name", list(ENDS))
def test_a_job_runs_again_from_its_message_alone(
    published: dict[str, tuple[Run, str]], redis_server: RedisServer, tmp_path: Path, name: str
) -> None:
    run, job_id = published[name]
    reaches(run, job_id, ENDS[name][2])
    found = wait_for(lambda: message(redis_server, job_id), "its message")
    assert "compression" not in found["headers"]
    assert found["properties"].get("priority") == (5 if name == "urgent" else 0)
    replay(redis_server, job_id, tmp_path)
    reaches(run, job_id, "completed")
    with redis_server.client(db=2) as client:
        stored = wait_for(lambda: client.get(f"celery-task-meta-{job_id}"), "a result")
        result = json.loads(stored)
    parcel = "Parcel(" in ENDS[name][1]
    assert (result["status"], result["result"]) == ("SUCCESS", 6 if parcel else 0)
    if "link" in ENDS[name][1]:
        wait_for(lambda: [job["status"] for job in run.named("add")] == ["completed"], "its link")


def test_a_refused_message_is_kept(producer: Producer, redis_server: RedisServer) -> None:
    run, job_id = producer.command("job = app.send_task('nobody.knows', (1,))", "job.id")
    reaches(run, job_id, "rejected")
    found = wait_for(lambda: message(redis_server, job_id), "its message")
    assert found["headers"]["task"] == "nobody.knows"


def test_only_failures_leave_a_message_and_not_too_large_a_one(
    producer: Producer, redis_server: RedisServer
) -> None:
    body = """
    import random
    add.apply_async((1,), task_id="good")
    once.apply_async(("large", "fail", "x" * 300_000), task_id="large")
    flaky.apply_async((1,), task_id="retried")
    ignore.apply_async(task_id="ignored")
    once.apply_async(("bad", "fail"), task_id="bad")
    """
    run, _ = producer.command(body)
    run.ended(5)
    assert wait_for(lambda: message(redis_server, "bad"), "its message")["v"] == 1
    others = ("good", "large", "retried", "ignored")
    assert [message(redis_server, job_id) for job_id in others] == [None] * 4
    with redis_server.client() as client:
        wait_for(
            lambda: client.hget("jobmon:totals:recorder", "dropped:message") == b"1", "counted"
        )
        left = client.ttl("jobmon:job:message:bad")
    assert 172_000 < left <= 172_800


def test_a_message_is_never_shown(producer: Producer, redis_server: RedisServer) -> None:
    run, job_id = producer.command(
        "job = once.apply_async(('shown', 'fail'), headers={'mine': 'nobody else sees it'})",
        "job.id",
    )
    reaches(run, job_id, "failed")
    wait_for(lambda: message(redis_server, job_id), "its message")
    found = message(redis_server, job_id)
    assert found is not None
    assert found["headers"]["mine"] == "nobody else sees it"
    with Served(redis_server.url) as served:
        paths = ("commands/running", "commands/finished", f"commands/{run.process_id}/jobs")
        answers = [served.get(path) for path in paths]
    assert job_id in answers[2].text
    for answer in answers:
        assert "nobody else sees it" not in answer.text
        assert found["body"] not in answer.text
