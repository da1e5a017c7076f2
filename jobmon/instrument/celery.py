"""Celery: which of its signals are a publish, a start and an end.

A job's context rides in one flat message header, written anew at every publish. What a job did
is told where it ran, by ``task_prerun`` and ``task_postrun``; what it could not tell itself is
told by its worker (``celery_worker``). Signals cost 4 µs a receiver, so no others are used per
job.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from threading import get_ident, local
from typing import Any, Final

from jobmon.instrument import (
    celery_eager,
    celery_message,
    celery_spans,
    context,
    guard,
    jobs,
    spans,
    tracking,
)
from jobmon.instrument import celery_worker as worker
from jobmon.instrument.celery_job import ENGINE, execution_of, module
from jobmon.instrument.context import HEADER, Frame, JobContext
from jobmon.instrument.guard import guarded
from jobmon.instrument.jobs import Execution
from jobmon.model import Outcome

_DISPATCH_UID: Final = "jobmon"
_WITH_ERROR: Final = ("FAILURE", "RETRY", "REJECTED")
_GREEN: Final = ("gevent", "eventlet")
_UNCONFIRMED: Final = 8
"""Publishes of one thread that may be under way, one inside the other."""


@dataclass(slots=True, eq=False)
class _Publish:
    """A message on its way to the broker."""

    headers: dict[str, Any]
    execution: Execution
    replaces: Frame | None
    """The running job that publishes itself again."""
    again: bool
    """Whether a job that does not run here is published again."""


class _Thread(local):
    def __init__(self) -> None:
        self.publishes: list[_Publish] = []


_thread: Final = _Thread()
_running: Final[dict[tuple[str, int], Execution]] = {}
"""By task id and thread: an id can run twice at a time."""
_connected = False


def install() -> None:
    """Connect to Celery's signals in this process: producers, workers and their children."""
    global _connected
    if _connected or not jobs.enabled():
        return
    guard.let_through(module("billiard.exceptions").SoftTimeLimitExceeded)
    for signal, receiver in _receivers():
        signal.connect(receiver, weak=False, dispatch_uid=_DISPATCH_UID)
    _connected = True


def uninstall() -> None:
    """Disconnect; jobs that run go on without a word."""
    global _connected
    if not _connected:
        return
    for signal, _ in _receivers():
        signal.disconnect(dispatch_uid=_DISPATCH_UID)
    _connected = False
    celery_spans.stop_listening()
    worker.uninstall()
    for execution in list(_running.values()):
        jobs.abandon(execution)
    _running.clear()
    celery_eager.abandon()


def _receivers() -> list[tuple[Any, Callable[..., None]]]:
    signals = module("celery.signals")
    return [
        (signals.before_task_publish, on_publishing),
        (signals.after_task_publish, on_published),
        (signals.task_prerun, on_started),
        (signals.task_postrun, on_finished),
        (signals.task_failure, worker.on_lost),
        (signals.task_revoked, worker.on_revoked),
        (signals.task_unknown, worker.on_unknown),
        (signals.task_rejected, worker.on_rejected),
        (signals.task_internal_error, worker.on_internal_error),
        (signals.worker_init, worker.on_worker_starting),
        (signals.worker_process_init, worker.on_process_starting),
        (signals.worker_process_shutdown, worker.on_process_stopping),
        (signals.worker_shutting_down, worker.on_shutting_down),
        (signals.worker_shutdown, worker.on_worker_stopped),
    ]


# Publishing


@guarded
def on_publishing(
    sender: str,
    body: Any,
    headers: dict[str, Any],
    properties: dict[str, Any],
    exchange: Any = None,
    routing_key: str | None = None,
    declare: Any = None,
    **_: Any,
) -> None:
    """A message is about to go to the broker: write the job's context into it."""
    # Protocol 1 has all but the correlation id in the body, and no headers of its own.
    fields: dict[str, Any] = headers if "id" in headers else body
    job_id = fields.get("id") or properties.get("correlation_id")
    if not job_id:
        return
    running, previous = _previous(job_id, headers)
    queue = _queue(exchange, routing_key, declare)
    eta = _eta(fields.get("eta"))
    with _surroundings(headers):
        own = jobs.publish_context(job_id, queue, eta=eta, previous=previous)
    headers[HEADER] = own.encode()
    spans.inject(headers, own.creation)
    execution = Execution(
        ENGINE,
        job_id,
        sender,
        own,
        queue=queue,
        group_id=fields.get("group") or "",
        arguments=lambda: _arguments(sender, body),
    )
    publishes = _thread.publishes
    if len(publishes) >= _UNCONFIRMED:
        del publishes[0]
    again = running is None and previous is not None
    publishes.append(_Publish(headers, execution, running, again))


@guarded
def on_published(headers: dict[str, Any], **_: Any) -> None:
    """The broker has the message.

    Celery says nothing of a publish that failed; those begun after this one and still open have.
    """
    publishes = _thread.publishes
    while publishes:
        publish = publishes.pop()
        if publish.headers is headers:
            if publish.replaces is not None:
                publish.replaces.republished = publish.execution.context
            jobs.published(publish.execution)
            if publish.again:
                worker.retried_elsewhere(publish.execution.job_id, publish.execution.context)
            return


def _surroundings(headers: dict[str, Any]) -> AbstractContextManager[object]:
    """What a message belongs to besides what runs here."""
    if tracking.HEADER in headers:
        return tracking.said_by(headers)
    if headers.get("parent_id") and context.entered() is None:
        reported = worker.being_reported(headers["parent_id"])
        if reported is not None:
            return _inside_of(reported["self"])
    return nullcontext()


@contextmanager
def _inside_of(request: Any) -> Generator[None]:
    """Publish errbacks for the job whose child died: Celery sends them from the main process."""
    own = worker.execution_of_request(request).context
    frame = Frame(own.process_id, own.command, own.manual, started_at=own.trace_started_at, job=own)
    token = context.enter(frame)
    try:
        yield
    finally:
        context.leave(frame, token)


def _previous(job_id: str, headers: dict[str, Any]) -> tuple[Frame | None, JobContext | None]:
    """The running job that publishes itself again, and the context of the last publish.

    A retry takes the old headers along, so that it is told even where nothing runs.
    """
    frame = context.current()
    if frame is not None and frame.job is not None and frame.job.job_id == job_id:
        return frame, frame.republished or frame.job
    carried = JobContext.decode(headers[HEADER]) if HEADER in headers else None
    return None, carried if carried is not None and carried.job_id == job_id else None


def _queue(exchange: Any, routing_key: str | None, declare: Any) -> str:
    if not exchange and routing_key:
        return routing_key  # the default exchange routes by the queue's name
    name: str = getattr(exchange, "name", exchange) or ""
    if routing_key and celery_message.is_delayed(name):
        return celery_message.queue_behind(None, celery_message.without_delay(routing_key))
    if declare and getattr(declare[0].exchange, "name", "") == name:
        return declare[0].name
    return celery_message.queue_behind(name, routing_key or "")


def _eta(eta: object) -> float:
    """Unix seconds of an ETA as it stands in a message, 0 where there is none."""
    if not isinstance(eta, str):
        return 0.0
    try:
        moment = datetime.fromisoformat(eta)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=module("celery").current_app.timezone)
    return moment.timestamp()


def _arguments(name: str, body: Any) -> tuple[object, object, Callable[..., object] | None]:
    fields: Any = body
    args, kwargs = (
        (fields["args"], fields["kwargs"]) if type(body) is dict else (fields[0], fields[1])
    )
    # Not app.tasks: it would make tasks of all that the application has declared so far.
    task = module("celery").current_app._tasks.get(name)
    return args, kwargs, getattr(task, "run", None)


# Running


@guarded
def on_started(task_id: str, task: Any, args: object, kwargs: object, **_: Any) -> None:
    """A job is about to run in this thread."""
    message: dict[str, Any] = task.request.__dict__
    if message.get("is_eager"):
        celery_eager.start(task_id, task, args, kwargs)
        return
    execution = execution_of(task_id, task.name, message)
    execution.arguments = lambda: (args, kwargs, task.run)
    execution.function = celery_spans.function_of(task)
    jobs.start(execution, measure_memory=worker.one_job_at_a_time)
    _running[task_id, get_ident()] = execution
    if execution.span is not None and execution.span.adopted:
        celery_spans.listen(on_ending)


@guarded
def on_ending(sender: Any, signal: Any, **told: Any) -> None:
    """Another instrumentation is about to end the span of a job that ended in this thread."""
    execution = _running.get((sender.request.id, get_ident()))
    if execution is None:
        return
    error = told.get("exception") or told.get("reason")
    frame = execution.frame
    if frame is not None and frame.republished is not None:
        outcome = Outcome.RETRIED
    else:
        outcome = _outcome(celery_spans.STATE_OF[signal.name], error, sender)
    if outcome is not None:
        expected = _is_expected(sender, outcome, error)
        jobs.describe_adopted(execution, outcome, _error(error), expected=expected)


@guarded
def on_finished(task_id: str, task: Any, state: str | None, retval: object, **_: Any) -> None:
    """A job ended in this thread, or its process is about to be killed."""
    if celery_eager.running.get() is not None and celery_eager.finish(task_id, state, retval):
        return
    execution = _running.pop((task_id, get_ident()), None)
    if execution is None:
        return
    frame = execution.frame
    following = frame.republished if frame is not None else None
    if state is None:
        outcome, error = _broken_off(task)
    else:
        outcome = _outcome(state, retval, task)
        error = _error(retval) if state in _WITH_ERROR else None
    if outcome is None:
        jobs.abandon(execution)
        return
    if following is not None:
        # retry(), with throw=False too, and replace(), which ends as ignored.
        outcome = Outcome.RETRIED
    elif outcome is not Outcome.COMPLETED:
        execution.message = lambda: celery_message.of_running_job(execution.queue)
    jobs.finish(
        execution,
        outcome,
        error=error,
        ready_at=following.eta if following is not None else 0.0,
        again=outcome is Outcome.RETRIED and following is None and state != "RETRY",
        expected=_is_expected(task, outcome, error),
    )


def _is_expected(task: Any, outcome: Outcome, error: object) -> bool:
    """Whether the task declares this error as part of its work (``throws``)."""
    return outcome is Outcome.FAILED and isinstance(error, task.throws)


def _outcome(state: str, retval: Any, task: Any) -> Outcome | None:
    """How a job ended by its state; None for one that Celery does not have."""
    if state == "SUCCESS":
        return Outcome.COMPLETED
    if state == "FAILURE":
        return _failure(retval)
    if state == "REJECTED":
        # Before it started, its message was acknowledged unless the task has that done late.
        back = getattr(retval, "requeue", False) and task.acks_late
        return Outcome.RETRIED if back else Outcome.REJECTED
    return {"RETRY": Outcome.RETRIED, "IGNORED": Outcome.IGNORED}.get(state)


def _failure(error: object) -> Outcome:
    soft_limit = module("billiard.exceptions").SoftTimeLimitExceeded
    return Outcome.TIMED_OUT if isinstance(error, soft_limit) else Outcome.FAILED


def _broken_off(task: Any) -> tuple[Outcome | None, BaseException | None]:
    """How a job without a state ended; None where the worker's main process will tell."""
    error = sys.exception()
    if isinstance(error, Exception):
        # Celery could not store or pass on how the job failed; what the job raised says more.
        error = _raised_by_job(error)
        return _failure(error), error
    if error is None or type(error).__name__ == "GreenletExit":
        return None, None
    if worker.forks:
        left = isinstance(error, (SystemExit, KeyboardInterrupt))
        return (None, None) if left else (Outcome.FAILED, error)
    if any(isinstance(error, getattr(sys.modules.get(name), "Timeout", ())) for name in _GREEN):
        # Not every version of Celery tells of a hard time limit there.
        again = task.acks_late and not getattr(task, "acks_on_timeout", True)
        return Outcome.RETRIED if again else Outcome.TIMED_OUT, error
    if task.acks_late:
        return Outcome.RETRIED, error
    stopped = isinstance(error, worker.shutdowns())
    return Outcome.LOST if stopped else Outcome.FAILED, error


def _raised_by_job(error: BaseException) -> BaseException:
    """What Celery was reporting when it failed itself, else the failure."""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_name == "on_error":
            reported = at.tb_frame.f_locals.get("exc")
            if isinstance(reported, BaseException):
                return reported
        at = at.tb_next
    return error


def _error(retval: Any) -> BaseException | None:
    """What was raised: for a retry, what it is about."""
    for error in (getattr(retval, "exc", None), retval):
        if isinstance(error, BaseException):
            return error
    return None
