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
from jobmon.instrument.celery_job import execution_of
from jobmon.instrument.context import HEADER, JobContext
from jobmon.model import Outcome

ROOT = Path(__file__).parents[2]
JOB = "71c40000-0000-4000-8000-000000000001"
ROOT_JOB = "71c40000-0000-4000-8000-000000000002"
HIGH = SimpleNamespace(name="high", exchange=SimpleNamespace(name="tasks"))


@pytest.mark.parametrize(
    ("exchange", "routing_key", "declare", "queue"),
    [
        ("", "celery", None, "celery"),
        ("", "celery", [SimpleNamespace(name="other")], "celery"),
        ("tasks", "tasks.high", [HIGH], "high"),
        ("others", "tasks.low", [HIGH], "tasks.low"),
        (SimpleNamespace(name="tasks"), "tasks.high", None, "tasks.high"),
        ("tasks", "tasks.high", [SimpleNamespace(exchange=None)], "tasks.high"),
        ("tasks", None, [], ""),
        (SimpleNamespace(name="celery_delayed_27"), "0." * 27 + "1.eu.high", None, "eu.high"),
        ("celery_delayed_27", "0." * 27 + "1.celery", None, "celery"),
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
    ("state", "result", "acks_late", "outcome"),
    [
        ("SUCCESS", 1, False, Outcome.COMPLETED),
        ("FAILURE", ValueError(), False, Outcome.FAILED),
        ("FAILURE", SoftTimeLimitExceeded(), False, Outcome.TIMED_OUT),
        ("RETRY", Retry(), False, Outcome.RETRIED),
        ("IGNORED", Ignore(), False, Outcome.IGNORED),
        ("REJECTED", Reject("no", requeue=False), True, Outcome.REJECTED),
        ("REJECTED", Reject("no", requeue=True), True, Outcome.RETRIED),
        ("REJECTED", Reject("no", requeue=True), False, Outcome.REJECTED),
        ("MADE UP", None, False, None),
    ],
)
def test_a_state_is_an_outcome(
    state: str, result: object, acks_late: bool, outcome: Outcome | None
) -> None:
    task = SimpleNamespace(acks_late=acks_late)
    assert celery._outcome(state, result, task) is outcome


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
    found = execution_of(task_id, "noop", {"root_id": root_id}).context
    assert (found.process_id, found.command, found.manual) == (process_id, "manual-dispatch", True)


def test_an_id_that_is_no_uuid_has_the_same_tree_in_every_process() -> None:
    first, second = (execution_of("nightly-1", "noop", {}).context for _ in range(2))
    assert first.process_id == second.process_id != ""


def test_a_context_of_another_job_is_not_taken() -> None:
    """A task that hands its own request's headers to another one takes ours along."""
    message = {HEADER: JobContext(ROOT_JOB, ROOT_JOB, "data:process").encode()}
    assert execution_of(JOB, "noop", message).context.command == "manual-dispatch"


def test_hooks_come_and_go_with_the_instrumentation() -> None:
    program = """
import celery.signals as signals
from jobmon.instrument import install, jobs
from jobmon.settings import load

hooked = [signals.before_task_publish, signals.after_task_publish, signals.task_prerun,
          signals.task_postrun, signals.task_failure, signals.task_revoked,
          signals.task_unknown, signals.task_rejected, signals.task_internal_error,
          signals.worker_init, signals.worker_process_init, signals.worker_process_shutdown,
          signals.worker_shutting_down]
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
