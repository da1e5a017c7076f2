"""Users' own classes and serializers: recorded once, whatever they override and however."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.rq_fixtures import VERSION, Run, command, rq_worker

pytestmark = pytest.mark.live

OWN = "tests.live.apps.rq_classes"
SERIALIZERS = {"json": "rq.serializers.JSONSerializer", "own": f"{OWN}.OwnSerializer"}
ALL_KINDS = """
{make}
def made(name):
    return Made(name, connection=connection, serializer={serializer!r})
own = made("work")
own.enqueue(jobs.add, 1, 2)
own.enqueue(jobs.add, "no", 1)
own.enqueue(jobs.flaky, 1, retry=Retry(max=1))
own.enqueue(jobs.kill_itself_once, own.serializer.__name__, retry=Retry(max=1))
first = own.enqueue(jobs.add, 3)
own.enqueue(jobs.add, 4, depends_on=first)
own.enqueue_in(timedelta(hours=1), jobs.add, 5)
made("idle").enqueue(jobs.add, 6).cancel()
"""


def check(
    store: RedisServer, folder: Path, worker: str, serializer: str, queue: str = "", *options: str
) -> None:
    """What is recorded of jobs of every kind."""
    simple = "simple" in worker.lower()
    make = f"from {OWN} import {queue} as Made" if queue else "Made = Queue"
    body = ALL_KINDS.format(make=make, serializer=serializer)
    if simple:
        body = "\n".join(line for line in body.splitlines() if "kill_itself" not in line)
    run = Run(store, command(store, body))
    options = ("--burst", "--serializer", serializer, *options)
    with rq_worker(store, folder, *options, ready=False, kind=worker) as process:
        process.wait()
    assert "jobmon:" not in process.log
    found = sorted(
        (job["class"].rpartition(".")[2], job["status"], job["attempt"])
        for job in run.jobs().values()
    )
    expected = [("add", "completed", 1)] * 3 + [
        ("add", "failed", 1),
        ("add", "pending", 1),
        ("add", "revoked", 1),
        ("flaky", "completed", 2),
    ]
    assert found == expected + ([] if simple else [("kill_itself_once", "completed", 2)])
    (failed,) = [job for job in run.jobs().values() if job["status"] == "failed"]
    assert failed["arguments"] == {"args": ["no", 1], "kwargs": {}}
    run.check_counters()


PAIRS = [("fork", "json"), ("simple", "own")]
if VERSION >= (2, 10):  # the horse of an older SpawnWorker knows no serializer
    PAIRS.append(("spawn", "own"))


@pytest.mark.parametrize(("kind", "serializer"), PAIRS)
def test_any_serializer_will_do(
    store: RedisServer, tmp_path: Path, kind: str, serializer: str
) -> None:
    check(store, tmp_path, kind, SERIALIZERS[serializer])


@pytest.mark.parametrize(
    ("worker", "queue"),
    [
        pytest.param("OwnWorker", "OwnQueue", id="calls super"),
        pytest.param("CopiedWorker", "CopiedQueue", id="does not"),
        pytest.param("CopiedSimpleWorker", "CopiedQueue", id="does not, simple"),
    ],
)
def test_what_a_users_classes_override_is_recorded_once(
    store: RedisServer, tmp_path: Path, worker: str, queue: str
) -> None:
    job = queue.replace("Queue", "Job")
    classes = ("--job-class", f"{OWN}.{job}", "--queue-class", f"{OWN}.{queue}")
    check(store, tmp_path, f"{OWN}.{worker}", SERIALIZERS["own"], queue, *classes)


if VERSION >= (3, 0):  # before, SpawnWorker's horse knows RQ's own classes alone

    def test_a_spawned_horse_of_a_users_classes_is_recorded(
        store: RedisServer, tmp_path: Path
    ) -> None:
        classes = ("--job-class", f"{OWN}.CopiedJob", "--queue-class", f"{OWN}.CopiedQueue")
        worker = f"{OWN}.CopiedSpawnWorker"
        check(store, tmp_path, worker, SERIALIZERS["own"], "CopiedQueue", *classes)
