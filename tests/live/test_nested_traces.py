"""One trace from a command through both engines, exported from processes that end in os._exit."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live import rq_fixtures
from tests.live.celery_fixtures import Run, celery_worker, command, wait_for
from tests.live.rq_fixtures import rq_worker
from tests.otlp import Receiver, attributes, links

pytestmark = pytest.mark.live

APP = "tests.live.apps.traced"
IMPORT = f"from {APP} import *\n"
CHAINS = 4


def tracing(receiver: Receiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # only a flush at the end brings them in time
    }


def test_no_span_is_lost_on_the_way_through_both_engines(
    store: RedisServer, tmp_path: Path
) -> None:
    with Receiver() as receiver, ExitStack() as workers:
        env = tracing(receiver)
        (tmp_path / "rq").mkdir()
        started = [
            workers.enter_context(
                celery_worker(store, tmp_path, "--max-tasks-per-child", "3", app=APP, **env)
            ),
            workers.enter_context(rq_worker(store, tmp_path / "rq", "-c", APP, **env)),
        ]
        body = f"{IMPORT}for n in range({CHAINS}):\n    from_celery.delay(1)\nflaky.delay(1)\n"
        run = Run(store, command(store, body + "fail_once()", **env))
        jobs = run.ended(4 * CHAINS + 2, 60)
        for worker in started:
            worker.stop()
        # A command, jobs, a span of the user's own in each, and an earlier attempt of two.
        wait_for(lambda: len(receiver.spans) >= 1 + 8 * CHAINS + 4, "all spans")

    spans = {span.span_id.hex(): span for span in receiver.spans}
    assert len(spans) == len(receiver.spans) == 1 + 8 * CHAINS + 4
    (root,) = [span for span in receiver.spans if span.name == "command data:process"]
    assert {span.trace_id for span in receiver.spans} == {root.trace_id}
    for job_id, job in jobs.items():
        span = spans[job["span_id"]]
        assert attributes(span)["messaging.message.id"] == job_id
        assert attributes(span)["jobmon.job.outcome"] == "completed"
        created_in = spans[span.parent_span_id.hex()]
        found = links(span)
        retry_of = found.pop("retry_of", None)
        if "parent_id" in job:
            assert found == {"creation": created_in.span_id, "command": root.span_id}
            assert created_in.name.startswith("inside ")
            assert created_in.parent_span_id.hex() == jobs[job["parent_id"]]["span_id"]
        else:
            assert found == {"creation": root.span_id}
            assert created_in is root
        assert (retry_of is not None) == (job["attempt"] > 1)
        if retry_of is not None:
            earlier = spans[retry_of.hex()]
            assert attributes(earlier)["messaging.message.id"] == job_id
            assert attributes(earlier)["jobmon.job.outcome"] == "retried"
            assert earlier.parent_span_id == root.span_id
    assert sorted(job["attempt"] for job in jobs.values())[-3:] == [1, 2, 2]


def test_a_worker_without_an_sdk_hands_the_trace_on(store: RedisServer, tmp_path: Path) -> None:
    with Receiver() as receiver:
        env = tracing(receiver)
        (tmp_path / "rq").mkdir()
        with celery_worker(store, tmp_path, app=APP):
            run = Run(store, command(store, f"{IMPORT}from_celery.delay(0)", **env))
            wait_for(lambda: run.named("from_rq"), "the job that a job published")
        with rq_worker(store, tmp_path / "rq", "-c", APP, "--burst", **env) as worker:
            worker.wait()
        by_name = {span.name: span for span in receiver.spans}
    (job,) = run.named("from_rq")
    root, span = by_name["command data:process"], by_name[f"process {APP}.from_rq"]
    assert span.span_id.hex() == job["span_id"]
    assert span.parent_span_id == root.span_id
    assert links(span) == {"creation": root.span_id}
    assert len(by_name) == len(receiver.spans) == 3


def starts(jobs: dict[str, dict[str, Any]]) -> list[float]:
    """Seconds from the start of each job to that of the next."""
    return [later - one for one, later in pairwise(sorted(j["started_at"] for j in jobs.values()))]


def test_a_collector_that_never_answers_holds_one_horse_for_half_a_second(
    store: RedisServer, tmp_path: Path
) -> None:
    with Receiver(answers=False) as receiver:
        body = f"{IMPORT}for n in range(8):\n    queue.enqueue(from_rq, 0)"
        run = Run(store, rq_fixtures.command(store, body))
        with rq_worker(store, tmp_path, "-c", APP, **tracing(receiver)):
            first, *later = starts(run.ended(8))
    assert 0.5 <= first < 5  # the SDK alone would take 10
    assert sorted(later)[len(later) // 2] < 0.5


def test_a_collector_that_never_answers_holds_one_child_for_a_second(
    store: RedisServer, tmp_path: Path
) -> None:
    with Receiver(answers=False) as receiver, store.client(db=3) as client:
        run = Run(store, command(store, "for n in range(2):\n    add.delay(n)"))
        options = "--concurrency", "1", "--max-tasks-per-child", "1"
        env = {**tracing(receiver), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}  # for the main process
        with celery_worker(store, tmp_path, *options, app=APP, **env) as worker:
            ended = sorted(job["finished_at"] for job in run.ended(2).values())
            wait_for(lambda: client.llen("left") == 2, "both children gone")
            assert worker.stop() < 10
        left = [float(moment) for moment in client.lrange("left", 0, 1)]
    first, second = [left_at - ended_at for ended_at, left_at in zip(ended, left, strict=True)]
    assert 1.0 <= first < 5
    assert second < 0.5
