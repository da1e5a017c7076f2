"""``jobs/{jobId}`` on a live server, of jobs that the store knows."""

from __future__ import annotations

import uuid

import pytest

from jobmon.model import Outcome, Stage, Status
from tests.conftest import RedisServer
from tests.serving import Recorded, Served, until

pytestmark = pytest.mark.live

ERROR = {
    "class": "ValueError",
    "message": "bad row",
    "frames": [
        {"file": "tasks.py", "line": 12, "function": "run", "code": "x"},
        "odd",
        {"line": "1"},
    ],
}


def test_a_job_is_shown_as_it_is_now(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    job = run.job(tags=["nightly", 7], worker="celery@web-1", eta=1_790_000_000.0)
    shown = served.data(f"jobs/{job}")
    assert (shown["process_id"], shown["status"], shown["attempt"]) == (run.id, "pending", 1)
    assert (shown["job_name"], shown["queue"]) == ("app.tasks.process_user", "default")
    assert (shown["tags"], shown["worker"]) == (["nightly"], "celery@web-1")
    assert shown["eta"] == "2026-09-21T14:13:20Z"
    assert (shown["started_at"], shown["exception"], shown["failed_job_id"]) == (None, None, None)
    recorded.write(run.transition(job, Status.PROCESSING, Stage.STARTED))
    assert served.data(f"jobs/{job}")["status"] == "processing"


def test_a_failed_job_tells_why_and_whether_it_can_be_retried(
    own_redis_server: RedisServer,
) -> None:
    recorded = Recorded(own_redis_server)
    run = recorded.run()
    arguments = {"args": [1], "kwargs": {"password": "[redacted]"}}
    job = run.job(Outcome.FAILED, error=ERROR, arguments=arguments)
    with Served(own_redis_server.url) as server:
        until(lambda: server.data(f"jobs/{job}")["failed_job_id"])
        shown = server.data(f"jobs/{job}")
        (row,) = server.get("jobs/failed").json()["data"]
    recorded.close()
    assert shown["failed_job_id"] == row["id"]
    assert not shown["can_be_retried"]  # nothing of its message was kept
    assert shown["arguments"] == arguments
    assert shown["exception"] == {
        "type": "ValueError",
        "message": "bad row",
        "frames": [
            {"file": "tasks.py", "line": 12, "function": "run", "code": "x"},
            {"file": "", "line": None, "function": "", "code": ""},
        ],
    }


def test_earlier_attempts_are_kept(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    job = run.job()
    first = run.transition(job, Status.RETRYING, Stage.ENDED, Outcome.RETRIED, error=ERROR)
    again = run.transition(job, Status.PENDING, Stage.ENQUEUED)._replace(attempt=2)
    recorded.write(first, again)
    shown = served.data(f"jobs/{job}")
    assert (shown["attempt"], shown["status"]) == (2, "pending")
    (attempt,) = shown["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["outcome"]) == (1, "retrying", "retried")
    assert attempt["exception"]["type"] == "ValueError"


def test_an_unknown_job_is_not_found(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    job = run.job()
    for path in (
        *("jobs/nope", f"jobs/{uuid.uuid4()}", "jobs/a%20b", f"jobs/{'x' * 256}"),
        f"jobs/{job}?process_id={uuid.uuid4()}",
    ):
        answer = served.get(path)
        assert (answer.status_code, answer.json()["error"]) == (404, "Not Found")
    assert served.get(f"jobs/{job}?process_id=nope").status_code == 422


def test_a_record_of_somebody_else_is_shown_as_far_as_it_can_be(
    served: Served, recorded: Recorded
) -> None:
    run = recorded.run()
    job = run.job()
    key = f"jobmon:command:{run.id}:jobs"
    odd = b'{"status":7,"attempt":"x","started_at":1e300,"queue_time":true,"tags":{},"error":[]}'
    with recorded.client() as client:
        client.hset(key, job, odd)
        assert served.data(f"jobs/{job}")["started_at"] is None
        client.hset(key, job, b"\xff")
        assert served.get(f"jobs/{job}").status_code == 404
