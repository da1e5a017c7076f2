"""Celery: which of its signals are a publish, a start and an end.

A job's context rides in one flat message header, written anew at every publish. What a job did
is told where it ran, by ``task_prerun`` and ``task_postrun``; that its process died is told by
the worker's main process. Signals cost 4 µs a receiver, so no others are used per job.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from threading import get_ident, local
from typing import Any, Final

from jobmon.instrument import context, guard, jobs, recorder, spans, tracking
from jobmon.instrument.context import HEADER, Frame, JobContext
from jobmon.instrument.guard import guarded
from jobmon.instrument.jobs import Execution
from jobmon.model import MANUAL_DISPATCH, Outcome

ENGINE: Final = "celery"

_DISPATCH_UID: Final = "jobmon"
_WITH_ERROR: Final = ("FAILURE", "RETRY", "REJECTED")
_POOLS_WITHOUT_FORK: Final = ("solo", "thread", "gevent", "eventlet")
_UNCONFIRMED: Final = 8
"""Publishes of one thread that may be under way, one inside the other."""
_ACCEPT_SECONDS: Final = 1.0
"""A child stamps its start a moment after the pool saw it accept the job."""
_HANDOVER_SECONDS: Final = 0.05
_SPANS_SECONDS: Final = 1.0
"""Celery waits for a child's last words without limit."""


@dataclass(slots=True, eq=False)
class _Publish:
    """A message on its way to the broker."""

    headers: dict[str, Any]
    execution: Execution
    replaces: Frame | None
    """The running job that publishes itself again."""


class _Thread(local):
    def __init__(self) -> None:
        self.publishes: list[_Publish] = []


_thread: Final = _Thread()
_running: Final[dict[tuple[str, int], Execution]] = {}
"""By task id and thread: an id can run twice at a time."""
_one_job_at_a_time = False
_connected = False


def install() -> None:
    """Connect to Celery's signals in this process: producers, workers and their children."""
    global _connected
    if _connected or not jobs.enabled():
        return
    guard.let_through(_module("billiard.exceptions").SoftTimeLimitExceeded)
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
    for execution in list(_running.values()):
        jobs.abandon(execution)
    _running.clear()


def _receivers() -> list[tuple[Any, Callable[..., None]]]:
    signals = _module("celery.signals")
    return [
        (signals.before_task_publish, on_publishing),
        (signals.after_task_publish, on_published),
        (signals.task_prerun, on_started),
        (signals.task_postrun, on_finished),
        (signals.task_failure, on_lost),
        (signals.worker_init, on_worker_starting),
        (signals.worker_process_init, on_process_starting),
        (signals.worker_process_shutdown, on_process_stopping),
    ]


def _module(name: str) -> Any:
    """A module of Celery's, which has no types."""
    return import_module(name)


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
        arguments=lambda: _arguments(body),
    )
    publishes = _thread.publishes
    if len(publishes) >= _UNCONFIRMED:
        del publishes[0]
    publishes.append(_Publish(headers, execution, running))


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
            return


def _surroundings(headers: dict[str, Any]) -> AbstractContextManager[object]:
    """What a message belongs to besides what runs here."""
    if tracking.HEADER in headers:
        return tracking.said_by(headers)
    if headers.get("parent_id") and context.entered() is None:
        request = _request_being_reported(headers["parent_id"])
        if request is not None:
            return _inside_of(request)
    return nullcontext()


@contextmanager
def _inside_of(request: Any) -> Generator[None]:
    """Publish errbacks for the job whose child died: Celery sends them from the main process."""
    own = _execution(request.id, request.task.name, request.request_dict).context
    frame = Frame(
        own.process_id, own.command, own.manual, started_at=own.command_started_at, job=own
    )
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
    name = getattr(declare[0], "name", "") if declare else ""
    return name or routing_key or ""


def _eta(eta: object) -> float:
    """Unix seconds of an ETA as it stands in a message, 0 where there is none."""
    if not isinstance(eta, str):
        return 0.0
    try:
        moment = datetime.fromisoformat(eta)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_module("celery").current_app.timezone)
    return moment.timestamp()


def _arguments(body: Any) -> tuple[object, object]:
    fields: Any = body
    return (fields["args"], fields["kwargs"]) if type(body) is dict else (fields[0], fields[1])


# Running


@guarded
def on_started(task_id: str, task: Any, args: object, kwargs: object, **_: Any) -> None:
    """A job is about to run in this thread."""
    message: dict[str, Any] = task.request.__dict__
    if message.get("is_eager"):
        return
    execution = _execution(task_id, task.name, message)
    execution.arguments = lambda: (args, kwargs)
    jobs.start(execution, measure_memory=_one_job_at_a_time)
    _running[task_id, get_ident()] = execution


@guarded
def on_finished(task_id: str, state: str | None, retval: object, **_: Any) -> None:
    """A job ended in this thread, or its process is about to be killed."""
    execution = _running.pop((task_id, get_ident()), None)
    if execution is None:
        return
    frame = execution.frame
    following = frame.republished if frame is not None else None
    outcome = _outcome(state, retval, following)
    if outcome is None:
        jobs.abandon(execution)
        return
    jobs.finish(
        execution,
        outcome,
        error=_error(retval) if state in _WITH_ERROR else None,
        ready_at=following.eta if following is not None else 0.0,
    )


def _execution(task_id: str, job_name: str, message: dict[str, Any]) -> Execution:
    """What a message and its worker say of a job."""
    delivery: dict[str, Any] = message.get("delivery_info") or {}
    own = JobContext.decode(message.get(HEADER))
    if own is None or own.job_id != task_id:
        own = _foreign(task_id, message.get("root_id"))
    return Execution(
        ENGINE,
        task_id,
        job_name,
        own,
        queue=own.queue or delivery.get("routing_key") or "",
        worker=message.get("hostname") or "",
        delivery=1 if delivery.get("redelivered") else 0,
        group_id=message.get("group") or "",
        parent_id=message.get("parent_id") or "",
        root_id=message.get("root_id") or "",
    )


def _foreign(task_id: str, root_id: object) -> JobContext:
    """Context of a job whose producer runs without jobmon, the same in every process."""
    process_id = (
        context.canonical_uuid(str(root_id or ""))
        or context.canonical_uuid(task_id)
        or str(uuid.uuid5(uuid.NAMESPACE_OID, task_id))
    )
    return JobContext(task_id, process_id, MANUAL_DISPATCH, manual=True)


def _outcome(state: str | None, retval: Any, following: JobContext | None) -> Outcome | None:
    """How a job ended by its state; None where another process of the worker will tell."""
    if state is None:
        return None
    if following is not None:
        # retry(), with throw=False too, and replace(), which ends as ignored.
        return Outcome.RETRIED
    if state == "SUCCESS":
        return Outcome.COMPLETED
    if state == "FAILURE":
        soft_limit = _module("billiard.exceptions").SoftTimeLimitExceeded
        return Outcome.TIMED_OUT if isinstance(retval, soft_limit) else Outcome.FAILED
    if state == "REJECTED":
        return Outcome.RETRIED if getattr(retval, "requeue", False) else Outcome.REJECTED
    return {"RETRY": Outcome.RETRIED, "IGNORED": Outcome.IGNORED}.get(state)


def _error(retval: Any) -> BaseException | None:
    """What was raised: for a retry, what it is about."""
    for error in (getattr(retval, "exc", None), retval):
        if isinstance(error, BaseException):
            return error
    return None


# The worker's processes


@guarded
def on_worker_starting(sender: Any, **_: Any) -> None:
    """The main process of a worker, before it forks."""
    pool = sender.pool_cls
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    spans.prepare()
    if not any(word in name for word in _POOLS_WITHOUT_FORK):
        recorder.open_handover()


@guarded
def on_process_starting(**_: Any) -> None:
    """A process that runs one job at a time: a child of prefork, the one of solo."""
    global _one_job_at_a_time
    _one_job_at_a_time = True


@guarded
def on_process_stopping(**_: Any) -> None:
    """A child of prefork ends next in ``os._exit``, after a hard time limit in 0.1 s."""
    recorder.flush(_HANDOVER_SECONDS)
    spans.flush_spans(_SPANS_SECONDS)


@guarded
def on_lost(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """A job failed; where its child was killed, only the main process says so, perhaps twice."""
    errors = _module("billiard.exceptions")
    timed_out = isinstance(exception, errors.TimeLimitExceeded)
    if not timed_out and not isinstance(exception, errors.WorkerLostError):
        return
    if (task_id, get_ident()) in _running:
        return  # raised by the job itself
    request = _request_being_reported(task_id)
    message: dict[str, Any] = sender.request.__dict__ if request is None else request.request_dict
    execution = _execution(task_id, sender.name, message)
    execution.arguments = lambda: (message.get("args"), message.get("kwargs"))
    execution.started_at = getattr(request, "time_start", None) or 0.0
    if execution.delivery:
        execution.delivery = int((execution.started_at + _ACCEPT_SECONDS) * 1000)
    outcome = Outcome.TIMED_OUT if timed_out else Outcome.LOST
    jobs.end_elsewhere(execution, outcome, error=exception)


def _request_being_reported(task_id: str) -> Any:
    """The worker's request whose method sends the signal that is being handled.

    It alone knows when the job started, Celery has already taken it out of its own tables, and
    a table of ours would cost every job a signal.
    """
    caller = inspect.currentframe()
    while caller is not None:
        found: Any = caller.f_locals.get("self")
        if hasattr(found, "time_start") and getattr(found, "id", None) == task_id:
            return found
        caller = caller.f_back
    return None
