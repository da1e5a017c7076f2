"""RQ: which of its moments are a publish, a start and an end.

RQ has neither signals nor headers: the hooks are around its methods (rq_patches.py), the
context is a field of the job's hash (rq_field.py), and a forking worker is two processes
(rq_horses.py).
"""

from __future__ import annotations

import os
import sys
import time
from contextvars import ContextVar, Token
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from jobmon.instrument import guard, jobs, recorder, spans
from jobmon.instrument.rq_field import FIELD_HOOKS, context_of, seconds, stamp_of
from jobmon.instrument.rq_horses import (
    CATCH_UP_SECONDS,
    HORSE_HOOKS,
    SPAWN_HOOKS,
    Running,
    begin,
    execution_of,
    forks,
    on_lost,
    prepare,
    running,
    spawns,
    tell_success,
    told,
)
from jobmon.instrument.rq_patches import Hook, Patches
from jobmon.model import Outcome

_WAITING: Final = frozenset(
    {None, "created", "queued", "deferred", "scheduled", "rate_limited", "ready_to_enqueue"}
)
"""RQ's words for a job whose current attempt has not begun; None in RQ 1.16."""
_MOST_CHOSEN_IDS: Final = 10_000
_AT_ONCE_SECONDS: Final = 0.01
"""A job is published as it was created unless this much later."""
_HANDOVER_SECONDS: Final = 1.0
_SPANS_SECONDS: Final = 0.5

_patches: Final = Patches()
_cleaning: ContextVar[bool] = ContextVar("jobmon_rq_cleaning", default=False)
_chosen: Final[dict[tuple[str, str], int]] = {}
"""Last attempt of each id that users chose, by run: they may publish one again as a new job."""
_parent_span: str | None = None
"""In a spawned horse: traceparent of the job's span, which its main process holds."""


def install() -> None:
    """Hook RQ in this process: producers, workers, and what they fork and spawn."""
    global _parent_span
    if not jobs.enabled():
        return
    import rq.exceptions
    import rq.timeouts
    import rq.worker
    from rq.job import Job
    from rq.queue import Queue
    from rq.registry import FailedJobRegistry, StartedJobRegistry

    guard.let_through(rq.timeouts.BaseTimeoutException)
    for module in (rq.exceptions, rq.worker):
        for name in ("StopRequested", "ShutDownImminentException"):
            if isinstance(found := getattr(module, name, None), type):
                guard.let_through(found)
    _parent_span = told()
    _patches.wrap([Job], FIELD_HOOKS)
    _patches.wrap([Queue], _QUEUE_HOOKS)
    # SpawnWorker is new in RQ 2.2.
    names = ("Worker", "SimpleWorker", "SpawnWorker", "HerokuWorker")
    _patches.wrap([getattr(rq.worker, name, None) for name in names], _WORKER_HOOKS)
    _patches.wrap([StartedJobRegistry], [Hook("cleanup", _cleaning_up, _cleaned_up)])
    _patches.wrap([FailedJobRegistry], [Hook("add", _abandoned)])


def uninstall() -> None:
    """Give RQ its methods back."""
    _patches.undo()
    running.clear()
    _chosen.clear()


def _publishing(queue: Any, job: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
    _decide_attempt(queue, job, 0.0)
    return queue, job


def _scheduling(queue: Any, job: Any, datetime: datetime, *_: Any, **__: Any) -> tuple[Any, Any]:
    # A naive datetime is local time for RQ too.
    _decide_attempt(queue, job, datetime.timestamp())
    return queue, job


def _decide_attempt(queue: Any, job: Any, eta: float) -> None:
    """Say which attempt a publish is, before RQ writes the hash.

    A publish of a job that runs is the attempt after the running one, however often RQ repeats
    the transaction. Scheduling and the scheduler's hand-over are one publish.
    """
    stamp = stamp_of(job)
    current = running.get(job._id)
    status = job._status
    abandoned = current is None and _cleaning.get() and job.started_at is not None
    if current is not None or abandoned or status not in _WAITING:
        previous = current.execution.context if current is not None else context_of(job)
        own = jobs.publish_context(job.id, queue.name, eta=eta, previous=previous)
        if abandoned:
            _end_abandoned(job, Outcome.RETRIED)
        if current is not None:
            current.ready_at = max(own.enqueued_at, own.eta)
            if current.execution.span is not None:
                own = replace(own, retry_of=current.execution.span.traceparent)
    else:
        own = stamp.context or context_of(job)
        now = time.time()
        if eta:
            own = replace(own, queue=queue.name, enqueued_at=now, eta=eta)
        elif status == "scheduled":
            own = replace(own, queue=queue.name)
        elif own.queue != queue.name or now - own.enqueued_at > _AT_ONCE_SECONDS:
            own = replace(own, queue=queue.name, enqueued_at=now)
        if stamp.chosen:
            own = replace(own, attempt=_chosen.get((own.process_id, own.job_id), 0) + 1)
    stamp.context = own
    stamp.emit = True


def on_published(state: tuple[Any, Any] | None, _: Any, error: BaseException | None) -> None:
    """A message is with the broker, or in a pipeline that is about to take it there."""
    if state is None or error is not None:
        return
    queue, job = state
    stamp = stamp_of(job)
    stamp.emit = False
    execution = execution_of(job, queue.name)
    if stamp.chosen:
        stamp.chosen = False
        own = execution.context
        _chosen[own.process_id, own.job_id] = own.attempt
        if len(_chosen) > _MOST_CHOSEN_IDS:
            del _chosen[next(iter(_chosen))]
    jobs.published(execution)


def on_started(worker: Any, job: Any, queue: Any = None, *_: Any, **__: Any) -> Running:
    """A horse, or a worker that does not fork, is about to perform a job."""
    current = running.get(job.id)
    if current is None:
        current = begin(job, queue, worker)
        if _parent_span is not None:
            current.horse = True
            current.execution.span = spans.held_elsewhere(_parent_span)
        jobs.begin(current.execution, open_span=not current.horse)
    elif current.pid != os.getpid():
        current.horse = True
        current.pid = os.getpid()
    current.performing = True
    jobs.enter(current.execution, measure_memory=True)
    return current


def _current(_: Any, job: Any, *__: Any, **___: Any) -> Running | None:
    return running.get(job.id)


def _returned_retry(current: Running | None, _: Any, error: BaseException | None) -> None:
    if current is None or error is not None:
        return
    if current.ready_at:
        current.outcome = Outcome.RETRIED
    else:
        current.outcome = Outcome.FAILED
        current.error_text = "MaxRetriesExceeded: the job returned Retry once too often"


class _Failure(NamedTuple):
    current: Running
    outcome: Outcome
    error: BaseException | None
    text: str
    stray: bool
    """Nobody here ran it."""


def _failing(worker: Any, job: Any, queue: Any = None, *args: Any, **kwargs: Any) -> _Failure:
    """RQ is about to write down a failure: in the horse, or in the main process for it."""
    current = running.get(job.id)
    stray = current is None
    if current is None:
        # Popped and never started: maintenance fails it a minute later.
        current = begin(job, queue, worker)
    error = sys.exc_info()[1]
    if worker._stopped_job_id == job.id:
        outcome = Outcome.REVOKED
    elif job.retries_left and job.retries_left > 0:
        outcome = Outcome.RETRIED
    elif not current.performing and not stray:
        outcome = Outcome.LOST
    else:
        outcome = Outcome.TIMED_OUT if _timed_out(error) else Outcome.FAILED
    text = kwargs.get("exc_string") or (args[1] if len(args) > 1 else "")
    return _Failure(current, outcome, error, str(text), stray)


def _failed(failure: _Failure | None, _: Any, __: BaseException | None) -> None:
    if failure is None:
        return
    current, outcome, error, text, stray = failure
    if current.performing:
        current.outcome, current.error, current.error_text = outcome, error, text
    elif stray:
        running.pop(current.execution.job_id, None)
        jobs.end_elsewhere(current.execution, outcome, error_text=text, ready_at=current.ready_at)
    else:
        recorder.catch_up(CATCH_UP_SECONDS)
        if current.outcome is None:
            on_lost(current, outcome, f"WorkerLost: {text}")


def on_finished(current: Running | None, result: Any, error: BaseException | None) -> None:
    """The last moment of ours before a horse ends in ``os._exit``."""
    if current is None or current.pid != os.getpid():  # a fork that the job made left by its stack
        return
    execution, job, outcome = current.execution, current.job, current.outcome
    running.pop(execution.job_id, None)
    if outcome is None:
        outcome = Outcome.FAILED if error is not None or result is False else Outcome.COMPLETED
    if job.started_at is not None and job.ended_at is not None and job.ended_at >= job.started_at:
        # RQ's own times are those of the function alone, without its work with Redis around it.
        elapsed = (job.ended_at - job.started_at).total_seconds()
        execution.ended_ticks = execution.started_ticks + elapsed
    else:
        elapsed = time.perf_counter() - execution.started_ticks
    if not (
        current.horse
        and outcome is Outcome.COMPLETED
        and not jobs.keeps_arguments()
        and tell_success(current, elapsed)
    ):
        _finish(current, outcome, error)
    if current.horse:
        recorder.flush(_HANDOVER_SECONDS)
        if "opentelemetry.sdk.trace" in sys.modules:
            spans.flush_spans(_SPANS_SECONDS)


def _finish(current: Running, outcome: Outcome, error: BaseException | None) -> None:
    # RQ has unpickled them to call the function, or failed to: it is not done here again.
    args: object = current.job._args
    kwargs: object = current.job._kwargs
    if isinstance(args, list | tuple) and isinstance(kwargs, dict):
        current.execution.arguments = lambda: (args, kwargs)  # pyright: ignore[reportUnknownLambdaType]
    jobs.finish(
        current.execution,
        outcome,
        error=current.error or error,
        error_text=current.error_text,
        ready_at=current.ready_at,
    )


def _timed_out(error: BaseException | None) -> bool:
    from rq.timeouts import JobTimeoutException

    return isinstance(error, JobTimeoutException)


def on_worker_starting(worker: Any, *_: Any, **__: Any) -> None:
    """A worker begins: hook what its classes override, and prepare for its forks."""
    kind: type = worker.__class__
    _patches.wrap([kind], _WORKER_HOOKS)
    _patches.wrap([worker.job_class], FIELD_HOOKS)
    _patches.wrap([worker.queue_class], _QUEUE_HOOKS)
    if spawns(worker):
        _patches.wrap([kind], SPAWN_HOOKS)
    if forks(worker):
        prepare()
    else:
        spans.prepare()


def _cleaning_up(*_: Any, **__: Any) -> Token[bool]:
    return _cleaning.set(True)


def _cleaned_up(token: Token[bool] | None, _: Any, __: BaseException | None) -> None:
    if token is not None:
        _cleaning.reset(token)


def _abandoned(_: Any, job: Any, *__: Any, **___: Any) -> None:
    """RQ fails a job on behalf of another worker, whose lease on it has run out."""
    if _cleaning.get():
        _end_abandoned(job, Outcome.LOST)


def _end_abandoned(job: Any, outcome: Outcome) -> None:
    execution = execution_of(job, job.origin, job.worker_name or "")
    execution.started_at = seconds(job.started_at)
    text = "WorkerLost: the worker stopped extending its lease on the job"
    jobs.end_elsewhere(execution, outcome, error_text=text)


_QUEUE_HOOKS: Final = (
    Hook("_enqueue_job", _publishing, on_published),
    Hook("_enqueue_rate_limited_job", _publishing, on_published),
    Hook("schedule_job", _scheduling, on_published),
)
_WORKER_HOOKS: Final = (
    *HORSE_HOOKS,
    Hook("work", on_worker_starting),
    Hook("perform_job", on_started, on_finished),
    Hook("handle_job_retry", _current, _returned_retry),
    Hook("handle_job_failure", _failing, _failed),
)
