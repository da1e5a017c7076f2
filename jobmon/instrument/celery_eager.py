"""Celery tasks that run where they are called: ``apply()``, ``task_always_eager``.

No message carries their context, and nobody else sees how they end: where Celery names no state,
as with ``task_eager_propagates``, the exception on its way to the caller tells it.
"""

from __future__ import annotations

import os
import platform
import sys
from contextvars import ContextVar, Token
from dataclasses import dataclass
from threading import local
from typing import Any, Final

from jobmon.instrument import context, jobs, tracking
from jobmon.instrument.celery_job import execution_of, module
from jobmon.instrument.context import Explicit, Frame, JobContext
from jobmon.instrument.jobs import Execution
from jobmon.model import Outcome


@dataclass(slots=True, eq=False)
class _Eager:
    """One attempt that is open in this context."""

    execution: Execution
    token: Token[_Eager | None] | None = None
    said: Token[Explicit | None] | None = None
    """What ``jobmon.track`` says of this job is not said of those that it publishes."""


class _Thread(local):
    next_attempt: JobContext | None = None
    """Of the job that left last, if Celery is about to run it again."""


running: Final[ContextVar[_Eager | None]] = ContextVar("jobmon_celery_eager", default=None)
_thread: Final = _Thread()
_open: Final[dict[int, _Eager]] = {}
_worker = ""


def inside_worker(name: str) -> None:
    """Say that this process, and what it forks, is a worker of this name."""
    global _worker
    _worker = name


def start(task_id: str, task: Any, args: object, kwargs: object) -> None:
    """A task is about to run in its caller."""
    message: dict[str, Any] = task.request.__dict__
    surrounding = context.entered()
    with tracking.said_by(dict(message.get("headers") or {})):
        own = _context(task_id, surrounding)
    own.enqueued_at = 0.0
    execution = execution_of(task_id, task.name, message)
    execution.context = own
    # Where there is none, as Celery names a process that publishes.
    execution.worker = _worker or f"gen{os.getpid()}@{platform.node()}"
    execution.queue = ""
    execution.arguments = lambda: (args, kwargs, task.run)
    # Recorded when it ends: if the caller's process dies, nobody could tell its end. Memory is
    # not its own: the caller's is being measured, or others run in this process.
    jobs.start(execution, measure_memory=False, silently=True)
    if execution.frame is not None:
        execution.frame.within = surrounding
    eager = _Eager(execution)
    eager.token, eager.said = running.set(eager), context.explicit.set(None)
    _open[id(eager)] = eager


def finish(task_id: str, state: str | None, retval: object) -> bool:
    """A task ended where it was called; False if it is not one that runs in this context."""
    eager = running.get()
    if eager is None or eager.execution.job_id != task_id:
        return False
    _leave(eager)
    execution, frame = eager.execution, eager.execution.frame
    error = retval if state is not None else sys.exception()
    if frame is not None and frame.republished is not None:
        outcome = Outcome.RETRIED  # by replace()
    else:
        outcome = _outcome(state, error)
        if outcome is Outcome.RETRIED:
            _thread.next_attempt = jobs.publish_context(task_id, "", previous=execution.context)
    if state in ("SUCCESS", "IGNORED") or not isinstance(error, BaseException):
        error = None
    jobs.finish(execution, outcome, error=getattr(error, "exc", None) or error)
    return True


def abandon() -> None:
    """Leave what runs without a word."""
    for eager in list(_open.values()):
        _leave(eager)
        jobs.abandon(eager.execution)


def _leave(eager: _Eager) -> None:
    _open.pop(id(eager), None)
    try:
        if eager.token is not None and eager.said is not None:
            running.reset(eager.token)
            context.explicit.reset(eager.said)
    except ValueError:  # uninstrumented by another thread
        pass


def _context(task_id: str, surrounding: Frame | None) -> JobContext:
    again, _thread.next_attempt = _thread.next_attempt, None
    if again is not None and again.job_id == task_id:
        return again
    job = surrounding.job if surrounding is not None else None
    if surrounding is None or job is None or job.job_id != task_id:
        return jobs.publish_context(task_id, "")
    # replace() runs the other task under this one's id, inside of it.
    own = jobs.publish_context(task_id, "", previous=surrounding.republished or job)
    surrounding.republished = own
    return own


def _outcome(state: str | None, result: object) -> Outcome:
    retry = module("celery.exceptions").Retry
    if isinstance(result, retry) and state in ("RETRY", "SUCCESS"):
        # Celery runs it again though the task only returned it, and not without a signature.
        sig: object = getattr(result, "sig", None)
        return Outcome.RETRIED if sig is not None else Outcome.FAILED
    if isinstance(result, module("billiard.exceptions").SoftTimeLimitExceeded):
        return Outcome.TIMED_OUT
    known = {
        "SUCCESS": Outcome.COMPLETED,
        "IGNORED": Outcome.IGNORED,
        "REJECTED": Outcome.REJECTED,
    }
    return known.get(state or "", Outcome.FAILED)
