"""Celery and RQ in one run: the second half of acceptance line S2."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Run, celery_worker, produce
from tests.live.rq_fixtures import rq_worker

pytestmark = pytest.mark.live

ENGINES = "tests.live.apps.engines"


def test_s2_both_engines_sum_into_one_job_count_however_they_nest(
    store: RedisServer, tmp_path: Path
) -> None:
    celery, rq = tmp_path / "celery", tmp_path / "rq"
    celery.mkdir()
    rq.mkdir()
    with celery_worker(store, celery, "-I", ENGINES), rq_worker(store, rq):
        process_id = produce(
            store,
            textwrap.dedent(
                f"""
                from {ENGINES} import from_celery, from_rq
                from tests.live.apps.rq_jobs import queue
                with jobmon.command("data:process") as run:
                    from_celery.delay(1)
                    queue.enqueue(from_rq, 1)
                print(json.dumps(run.id))
                """
            ),
        )
        run = Run(store, process_id)
        jobs = run.ended(4 + 3)
    # Celery -> RQ -> Celery -> RQ, and RQ -> Celery -> RQ.
    assert sorted(job["engine"] for job in jobs.values()) == ["celery"] * 3 + ["rq"] * 4
    assert {job["process_id"] for job in jobs.values()} == {process_id}
    roots = [job for job in jobs.values() if "parent_id" not in job]
    assert len(roots) == 2
    for job in jobs.values():
        assert job["root_id"] in {root["id"] for root in roots}
        if "parent_id" in job:
            assert jobs[job["parent_id"]]["engine"] != job["engine"]
    assert int(run.counters()["job_count"]) == 7
    run.check_counters()
