"""A job whose process is killed has its span all the same, and only one."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RedisServer
from tests.live import rq_fixtures
from tests.live.celery_fixtures import Run, Signals, celery_worker, command, produce, wait_for
from tests.live.rq_fixtures import rq_worker
from tests.live.test_nested_traces import APP, IMPORT, tracing
from tests.otlp import Receiver, attributes, links

pytestmark = pytest.mark.live

IDS = {
    name: str(uuid.uuid4())
    for name in ("killed", "limit", "exit", "once", "exported", "revoked", "cold")
}
JOBS = f"""
for name, task, *args in (
    ("killed", die),
    ("limit", hard_limited),
    ("exit", leave),
    ("once", killed_once, "once"),
    ("exported", exported),
    ("revoked", held, "revoked"),
    ("cold", held, "cold"),
):
    task.apply_async(args, task_id={IDS}[name])
"""
OWN = "completed", "", False
LOST = "lost", "WorkerLost", True
EXPECTED = {
    "killed": [LOST],
    "limit": [("timed_out", "TimeLimitExceeded", True)],
    "exit": [LOST],
    "once": [LOST, OWN],
    "exported": [OWN],
    "revoked": [("revoked", "", True)],
    "cold": [LOST],
}


def told(span: Any) -> tuple[str, str, bool]:
    """How a span says that it ended, its kind of error, and whether somebody else said so."""
    said = attributes(span)
    is_error = span.status.code == span.status.STATUS_CODE_ERROR
    assert is_error == ("error.type" in said)
    return (
        said["jobmon.job.outcome"],
        said.get("error.type", ""),
        said.get("jobmon.synthetic", False),
    )


def test_the_main_process_of_prefork_closes_what_its_children_left_open(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    options = "--concurrency", "3", "--prefetch-multiplier", "8"
    with Receiver() as receiver:
        env = {**tracing(receiver), "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with celery_worker(store, tmp_path, *options, app=APP, **env) as worker:
            run = Run(store, command(store, IMPORT + JOBS, **env))
            for name in ("revoked", "cold"):
                signals.wait_at(name)
            revoke = f"app.control.revoke({IDS['revoked']!r}, terminate=True, signal='SIGKILL')"
            produce(store, IMPORT + revoke)
            ended = {"completed", "failed", "lost", "revoked"}
            wait_for(
                lambda: [job["status"] in ended for job in run.jobs().values()].count(True) == 6,
                "all but one ended",
                60,
            )
            # A cold shutdown kills children that may not have exported yet.
            wait_for(lambda: len(receiver.spans) >= 8, "all spans but that of the one")
            worker.stop(signal.SIGQUIT)
        wait_for(lambda: len(receiver.spans) >= 9, "the last span")
    jobs = run.ended(7)
    (root,) = [span for span in receiver.spans if span.name == "command data:process"]
    by_job: dict[str, list[Any]] = {name: [] for name in IDS}
    names = {job_id: name for name, job_id in IDS.items()}
    for span in sorted(receiver.spans, key=lambda span: span.start_time_unix_nano):
        if span is not root:
            by_job[names[attributes(span)["messaging.message.id"]]].append(span)
    assert {name: [told(span) for span in spans] for name, spans in by_job.items()} == EXPECTED
    for name, spans in by_job.items():
        job, span = jobs[IDS[name]], spans[-1]
        assert (job["trace_id"], job["span_id"]) == (root.trace_id.hex(), span.span_id.hex())
        assert job["started_at"] == pytest.approx(span.start_time_unix_nano / 1e9, abs=1)
        for span in spans:
            assert span.trace_id == root.trace_id
            assert span.parent_span_id == root.span_id
            assert links(span) == {"creation": root.span_id}
            assert attributes(span)["jobmon.job.name"] == job["class"]
    (killed,) = by_job["killed"]
    assert "signal 9" in killed.status.message


def test_a_horse_that_is_killed_has_a_span_and_so_has_one_that_outlives_its_worker(
    store: RedisServer, tmp_path: Path
) -> None:
    signals = Signals(store)
    with Receiver() as receiver:
        env = {**tracing(receiver), "OTEL_BSP_SCHEDULE_DELAY": "100"}
        body = "queue.enqueue(jobs.kill_itself)\nqueue.enqueue(jobs.held, 'orphan')"
        run = Run(store, rq_fixtures.command(store, body, **env))
        with rq_worker(store, tmp_path, "-c", APP, **env) as worker:
            signals.wait_at("orphan")
            name = f"process {rq_fixtures.JOBS}."
            wait_for(lambda: name + "kill_itself" in [s.name for s in receiver.spans], "the killed")
            worker.stop(signal.SIGKILL)
            signals.go("orphan")
            wait_for(lambda: name + "held" in [s.name for s in receiver.spans], "the orphan's")
    killed, held = (
        span
        for job in ("kill_itself", "held")
        for span in receiver.spans
        if span.name == name + job
    )
    assert told(killed) == ("lost", "WorkerLost", False)  # its own: the main process opened it
    assert "signal 9" in killed.status.message
    assert told(held) == OWN
    (job,) = run.named("held")
    assert (job["status"], job["span_id"]) == ("completed", held.span_id.hex())
