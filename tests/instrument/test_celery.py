"""What of Celery's hooks needs no worker; the rest is in ``tests/live``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Ignore, Reject, Retry

from jobmon.instrument import celery
from jobmon.instrument.context import HEADER, JobContext
from jobmon.model import Outcome

ROOT = Path(__file__).parents[2]
JOB = "71c40000-0000-4000-8000-000000000001"
ROOT_JOB = "71c40000-0000-4000-8000-000000000002"
NEXT = JobContext(JOB, JOB, "data:process", attempt=2)


@pytest.mark.parametrize(
    ("exchange", "routing_key", "declare", "queue"),
    [
        ("", "celery", None, "celery"),
        ("", "celery", [SimpleNamespace(name="other")], "celery"),
        ("tasks", "tasks.high", [SimpleNamespace(name="high")], "high"),
        (SimpleNamespace(name="tasks"), "tasks.high", None, "tasks.high"),
        ("tasks", "tasks.high", [SimpleNamespace()], "tasks.high"),
        ("tasks", None, [], ""),
    ],
)
def test_a_queue_is_named_by_what_the_message_is_routed_with(
    exchange: Any, routing_key: str | None, declare: Any, queue: str
) -> None:
    assert celery._queue(exchange, routing_key, declare) == queue


@pytest.mark.parametrize(
    ("eta", "seconds"),
    [
        (None, 0.0),
        ("soon", 0.0),
        (1_764_000_000, 0.0),
        ("2025-11-24T16:00:00+00:00", 1_764_000_000.0),
        ("2025-11-24T17:00:00.500000+01:00", 1_764_000_000.5),
        ("2025-11-24T16:00:00Z", 1_764_000_000.0),
        ("2025-11-24T16:00:00", 1_764_000_000.0),
    ],
)
def test_an_eta_without_a_zone_is_in_the_applications(eta: object, seconds: float) -> None:
    assert celery._eta(eta) == seconds


@pytest.mark.parametrize(
    ("state", "result", "following", "outcome"),
    [
        ("SUCCESS", 1, None, Outcome.COMPLETED),
        ("SUCCESS", 1, NEXT, Outcome.RETRIED),
        ("FAILURE", ValueError(), None, Outcome.FAILED),
        ("FAILURE", ValueError(), NEXT, Outcome.RETRIED),
        ("FAILURE", SoftTimeLimitExceeded(), None, Outcome.TIMED_OUT),
        ("RETRY", Retry(), NEXT, Outcome.RETRIED),
        ("RETRY", Retry(), None, Outcome.RETRIED),
        ("IGNORED", Ignore(), None, Outcome.IGNORED),
        ("IGNORED", Ignore(), NEXT, Outcome.RETRIED),
        ("REJECTED", Reject("no", requeue=False), None, Outcome.REJECTED),
        ("REJECTED", Reject("no", requeue=True), None, Outcome.RETRIED),
        ("MADE UP", None, None, None),
        (None, None, None, None),
        (None, None, NEXT, None),
    ],
)
def test_a_state_is_an_outcome(
    state: str | None, result: object, following: JobContext | None, outcome: Outcome | None
) -> None:
    assert celery._outcome(state, result, following) is outcome


def test_a_retry_is_about_the_error_that_caused_it() -> None:
    error = ValueError("no")
    assert celery._error(Retry(exc=error)) is error
    assert isinstance(celery._error(Retry("later")), Retry)
    assert celery._error(error) is error
    assert celery._error("text") is None


@pytest.mark.parametrize(
    ("task_id", "root_id", "process_id"),
    [(JOB, None, JOB), (JOB, ROOT_JOB, ROOT_JOB), (JOB.upper(), None, JOB)],
)
def test_a_message_without_a_context_belongs_to_its_tree(
    task_id: str, root_id: str | None, process_id: str
) -> None:
    found = celery._execution(task_id, "noop", {"root_id": root_id}).context
    assert (found.process_id, found.command, found.manual) == (process_id, "manual-dispatch", True)


def test_an_id_that_is_no_uuid_has_the_same_tree_in_every_process() -> None:
    first, second = (celery._execution("nightly-1", "noop", {}).context for _ in range(2))
    assert first.process_id == second.process_id != ""


def test_a_context_of_another_job_is_not_taken() -> None:
    """A task that hands its own request's headers to another one takes ours along."""
    message = {HEADER: JobContext(ROOT_JOB, ROOT_JOB, "data:process").encode()}
    assert celery._execution(JOB, "noop", message).context.command == "manual-dispatch"


def test_hooks_come_and_go_with_the_instrumentation() -> None:
    program = """
import celery.signals as signals
from jobmon.instrument import install, jobs
from jobmon.settings import load

hooked = [signals.before_task_publish, signals.after_task_publish, signals.task_prerun,
          signals.task_postrun, signals.task_failure, signals.worker_init,
          signals.worker_process_init, signals.worker_process_shutdown]
before = [len(signal.receivers) for signal in hooked]

def added():
    return {len(signal.receivers) - number for signal, number in zip(hooked, before)}

install.instrument(load({"monitoring.job_correlation_enabled": False}, environ={}))
assert added() == {0}, added()
install.uninstrument()
install.instrument(load(environ={}))
install.instrument()
assert added() == {1}, added()
install.uninstrument()
assert added() == {0}, added()
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
