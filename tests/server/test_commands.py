"""``commands/{processId}`` and page links on a live server."""

from __future__ import annotations

import uuid

import pytest

from jobmon.model import Outcome, Stage, Status
from jobmon.server import commands
from tests.conftest import RedisServer
from tests.serving import Recorded, Served

pytestmark = pytest.mark.live


def test_a_run_is_shown_with_its_counters(served: Served, recorded: Recorded) -> None:
    run = recorded.run(app="shop", release="1.4.2", tags=["nightly"], options={"force": True})
    run.jobs(2, Outcome.COMPLETED)
    run.jobs(1, Outcome.FAILED)
    lost = run.job()
    recorded.write(run.transition(lost, Status.LOST, Stage.LOST, Outcome.LOST))
    run.jobs(3)
    shown = served.data(f"commands/{run.id}")
    counters = shown.pop("counters")
    started_at = shown.pop("started_at")
    assert started_at.endswith("Z")
    assert shown == {
        "process_id": run.id,
        "command_name": "data:process",
        "source": "console",
        "status": "running",
        "environment": "production",
        "finished_at": None,
        "duration": None,
        "exit_code": None,
        "arguments": {},
        "options": {"force": True},
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "host": "worker-1",
        "pid": 4321,
        "app": "shop",
        "release": "1.4.2",
        "tags": ["nightly"],
        "parent_process_id": None,
        "parent_job_id": None,
        "due_at": None,
        "sent_at": None,
        "schedule": None,
        "root_job_id": None,
    }
    assert counters == {
        "job_count": 7,
        "success_jobs": 2,
        "failed_jobs": 2,
        "lost_jobs": 1,
        "revoked_jobs": 0,
        "retried_jobs": 0,
        "open_jobs": 3,
        "total_job_time": 1.26,
        "peak_memory": 10_485_760,
        "drained_at": None,
        "partial": False,
    }


def test_a_run_that_ended_tells_how(served: Served, recorded: Recorded) -> None:
    run = recorded.run()
    run.end(Outcome.FAILED, 4)
    shown = served.data(f"commands/{run.id.upper()}")
    assert (shown["status"], shown["exit_code"]) == ("failed", 4)
    assert shown["finished_at"].endswith("Z")
    assert shown["duration"] >= 0


def test_an_unknown_run_is_not_found(served: Served, recorded: Recorded) -> None:
    for wrong in (str(uuid.uuid4()), "nope"):
        answer = served.get(f"commands/{wrong}")
        assert answer.status_code == 404
        assert answer.json()["error"] == "Not Found"


def test_links_start_where_the_public_url_says(
    redis_server: RedisServer, recorded: Recorded
) -> None:
    run = recorded.run()
    run.jobs(commands.MOST_JOBS + 1, created_at=1.0)
    with Served(redis_server.url, PUBLIC_URL="https://ops.example/base/") as server:
        following = server.get(f"commands/{run.id}/jobs").links["next"]["url"]
    start = f"https://ops.example/base/api/job-monitor/commands/{run.id}/jobs?cursor="
    assert following.startswith(start)
