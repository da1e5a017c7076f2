"""All failed jobs of a large run are run again, while the servers that do it are killed."""

from __future__ import annotations

import json
import signal
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobmon.store.chunks import chunks
from tests.conftest import RedisServer
from tests.databases import made
from tests.retry.failing import failure
from tests.serving import OPERATE, PREFIX, TOKENS, Recorded, Served, bearer, until
from tests.soak.conftest import Told
from tests.soak.page import FULL

JOBS = 100_000 if FULL else 5_000
SECONDS = 60 + JOBS / 100
KILLED = (0.25, 0.6)
"""At which share of what is pushed one of the servers is. Its successor waits for its claims."""

pytestmark = [pytest.mark.soak, pytest.mark.live, pytest.mark.timeout(300 + 3 * SECONDS)]


def test_all_failed_jobs_of_a_run_are_pushed_once_though_servers_are_killed(
    redis_server: RedisServer, tmp_path: Path, told: Told
) -> None:
    broker = f"{redis_server.url.rsplit('/', 1)[0]}/1"
    ids = [str(uuid.uuid4()) for _ in range(JOBS)]
    with ExitStack() as stack:
        database = stack.enter_context(made("postgresql", tmp_path))

        def serve() -> Served:
            own = {"DATABASE_URL": database.url, "AUTH_TOKENS": TOKENS, "CELERY_BROKER_URL": broker}
            return stack.enter_context(Served(redis_server.url, "--no-schedule", **own))

        servers = [serve(), serve()]
        recorded = Recorded(redis_server)
        stack.callback(recorded.close)
        run = recorded.run()
        for some in chunks(ids, 1000):
            recorded.write(*(failure(run, job_id, queue="nobody") for job_id in some))

        def answered(path: str, *, verb: str = "GET") -> Any:
            answer = servers[-1].client.request(
                verb, f"{PREFIX}/{path}", headers=bearer(OPERATE), timeout=60
            )
            assert answer.status_code == 200, answer.text
            return answer.json()

        until(lambda: answered("jobs/failed?per_page=1")["total"] == JOBS, SECONDS)
        began = time.monotonic()
        answered(f"commands/{run.id}/retry-failed", verb="POST")
        held = time.monotonic() - began

        with redis_server.client(db=1) as client:
            for share in KILLED:
                until(lambda at=share * JOBS: client.llen("nobody") >= at, SECONDS)
                servers[0].process.send_signal(signal.SIGKILL)
                servers = [servers[1], serve()]

            def progress() -> Any:
                return answered(f"commands/{run.id}/retry-failed")["data"]

            until(lambda: progress()["finished_at"], SECONDS)
            seconds = time.monotonic() - began
            waiting = [json.loads(raw)["headers"]["id"] for raw in client.lrange("nobody", 0, -1)]
        assert sorted(waiting) == sorted(ids)
        assert answered("jobs/failed?per_page=1")["total"] == 0
        assert progress()["remaining"] == 0
    assert held < 2
    told(jobs=JOBS, killed=len(KILLED), request_ms=round(held * 1000), seconds=round(seconds))
