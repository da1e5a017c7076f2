"""RQ: which of its moments are a publish, a start and an end.

RQ has neither signals nor headers: the hooks are around its methods (patches.py), the
context is a field of the job's hash (rq_field.py), a forking worker is two processes
(rq_horses.py), and a job may end without running (rq_registries.py).
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Callable
from contextvars import Token
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from jobmon.instrument import guard, jobs, recorder, spans
from jobmon.instrument.context import JobContext
from jobmon.instrument.memory import PeakMemory
from jobmon.instrument.patches import Hook, Patches
from jobmon.instrument.rq_field import ENGINE, FIELD_HOOKS, Stamp, context_of, keeping, stamp_of
from jobmon.instrument.rq_horses import (
    CATCH_UP_SECONDS,
    HORSE_HOOKS,
    SPAWN_HOOKS,
    Running,
    begin,
    describe_broker,
    execution_of,
    forks,
    on_lost,
    prepare,
    running,
    spawns,
    tell_success,
    told,
)
from jobmon.instrument.rq_registries import (
    CLEANUP_HOOKS,
    FAILED_HOOKS,
    REVOKING_HOOKS,
    cleaning,
    end_abandoned,
)
from jobmon.instrument.workers import Now, Worker
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
_chosen: Final[dict[tuple[str, str], int]] = {}
"""Last attempt of each id that users chose, by run: they may publish one again as a new job."""
_hooked: Final[weakref.WeakSet[type]] = weakref.WeakSet()
"""Classes of queues, workers and jobs that were looked at."""
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
    if _parent_span is not None:
        keeping.set(True)
    _patches.wrap([Job], (*FIELD_HOOKS, *_JOB_HOOKS))
    _patches.wrap([Queue], _QUEUE_HOOKS)
    # SpawnWorker is new in RQ 2.2.
    names = ("Worker", "SimpleWorker", "SpawnWorker", "HerokuWorker")
    _patches.wrap([getattr(rq.worker, name, None) for name in names], _WORKER_HOOKS)
    _patches.wrap([StartedJobRegistry], CLEANUP_HOOKS)
    _patches.wrap([FailedJobRegistry], FAILED_HOOKS)


def uninstall() -> None:
    """Give RQ its methods back."""
    _patches.undo()
    running.clear()
    _chosen.clear()
    _hooked.clear()


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
    abandoned = current is None and cleaning.get() and job.started_at is not None
    if current is not None or abandoned or status not in _WAITING:
        previous = current.execution.context if current is not None else context_of(job)
        own = jobs.publish_context(job.id, queue.name, eta=eta, previous=previous)
        if abandoned:
            end_abandoned(job, Outcome.RETRIED)
        if current is not None:
            current.ready_at = max(own.enqueued_at, own.eta)
            if current.execution.span is not None:
                own = replace(own, retry_of=current.execution.span.traceparent)
    else:
        own = stamp.context or context_of(job)
        now = time.time()
        if eta:
            own = replace(own, queue=queue.name, enqueued_at=now, eta=eta)
        elif status == "scheduled" and own.eta:  # without, it is rq-scheduler that hands it over
            own = replace(own, queue=queue.name)
        elif own.queue != queue.name or now - own.enqueued_at > _AT_ONCE_SECONDS:
            own = replace(own, queue=queue.name, enqueued_at=now)
        if stamp.chosen:
            own = replace(own, attempt=_next_attempt(own))
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
        _count_chosen(stamp, execution.context)
    jobs.published(execution)


def _deferring(job: Any, *_: Any, **__: Any) -> None:
    """A job is put off until its dependencies are met, which may be at once, or never."""
    stamp = stamp_of(job)
    own = context_of(job)
    if stamp.chosen:
        own = stamp.context = replace(own, attempt=_next_attempt(own))
        _count_chosen(stamp, own)
    execution = execution_of(job, job.origin)
    execution.delivery = 0
    jobs.published(execution)


def _next_attempt(own: JobContext) -> int:
    return _chosen.get((own.process_id, own.job_id), 0) + 1


def _count_chosen(stamp: Stamp, own: JobContext) -> None:
    stamp.chosen = False
    _chosen[own.process_id, own.job_id] = own.attempt
    if len(_chosen) > _MOST_CHOSEN_IDS:
        del _chosen[next(iter(_chosen))]


def on_started(worker: Any, job: Any, queue: Any = None, *_: Any, **__: Any) -> Running:
    """A horse, or a worker that does not fork, is about to perform a job."""
    current = running.get(job.id)
    forked = False
    if current is None:
        current = begin(job, queue, worker)
        if _parent_span is not None:
            current.horse = True
            current.execution.span = spans.held_elsewhere(_parent_span) or spans.adoption(
                current.execution
            )
        jobs.begin(current.execution, open_span=not current.horse)
    elif current.pid != os.getpid():
        forked = current.horse = True
        current.pid = os.getpid()
    current.performing = True
    jobs.enter(current.execution, measure_memory=not forked)
    if current.execution.span is not None and current.execution.span.adopted:
        _patches.wrap([worker.__class__], _ADOPTING_HOOKS)
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
    jobs.describe_adopted(current.execution, current.outcome)


def _succeeded(current: Running | None, _: Any, error: BaseException | None) -> None:
    if current is not None and error is None:
        jobs.describe_adopted(current.execution, Outcome.COMPLETED)


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
        # Popped by a worker that died before it could start it: maintenance finds it.
        current = begin(job, queue, worker)
    error = sys.exc_info()[1]
    if worker._stopped_job_id == job.id:
        outcome = Outcome.REVOKED
    elif job.retries_left and job.retries_left > 0:
        outcome = Outcome.RETRIED
    elif not current.performing:
        outcome = Outcome.TIMED_OUT if current.overdue else Outcome.LOST
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
        jobs.describe_adopted(current.execution, outcome, error)
    elif stray:
        running.pop(current.execution.job_id, None)
        on_lost(current, outcome, f"WorkerLost: {text}")
    else:
        recorder.catch_up(CATCH_UP_SECONDS)
        if current.outcome is None:
            kind = "JobTimeoutException" if current.overdue else "WorkerLost"
            on_lost(current, outcome, f"{kind}: {text}")


def on_finished(current: Running | None, result: Any, error: BaseException | None) -> None:
    """The last moment of ours before a horse ends in ``os._exit``."""
    if current is None or current.pid != os.getpid():  # a fork that the job made left by its stack
        return
    execution, job, outcome = current.execution, current.job, current.outcome
    if current.horse and execution.span is not None and os.getppid() != current.main_pid:
        execution.span.take_over()
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
        job = current.job
        current.execution.arguments = lambda: (args, kwargs, _function(job))  # pyright: ignore[reportUnknownLambdaType]
    if current.horse and current.execution.memory is None:  # of a success the main process tells it
        current.execution.memory = PeakMemory.since_fork()
    jobs.finish(
        current.execution,
        outcome,
        error=current.error or error,
        error_text=current.error_text,
        ready_at=current.ready_at,
    )


def _function(job: Any) -> Callable[..., object] | None:
    """What a job calls, if that is imported; importing what failed before might take for ever."""
    owner, names = job._instance, str(job._func_name).split(".")
    if owner is not None:
        return getattr(owner, names[-1], None)
    for end in range(len(names) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(names[:end]))
        if found is not None:
            for name in names[end:]:
                found = getattr(found, name, None)
            return found
    return None


def _timed_out(error: BaseException | None) -> bool:
    from rq.timeouts import JobTimeoutException

    return isinstance(error, JobTimeoutException)


def _performing_sync(queue: Any, job: Any, *_: Any, **__: Any) -> Running:
    """A queue made with ``is_async=False`` performs a job where it was to be published."""
    pid = os.getpid()
    current = Running(None, job, execution_of(job, queue.name, "sync"), pid, pid, performing=True)
    running[job.id] = current
    jobs.start(current.execution, measure_memory=False)
    return current


def _performed_sync(current: Running | None, _: Any, __: BaseException | None) -> None:
    if current is None or current.pid != os.getpid():
        return
    running.pop(current.execution.job_id, None)
    finished = current.job._status == "finished"
    _finish(current, Outcome.COMPLETED if finished else Outcome.FAILED, None)


def _queue_made(queue: Any, _: Any, __: BaseException | None) -> None:
    """Hook what a user's classes override without calling ``super()``."""
    _hook(queue.job_class, (*FIELD_HOOKS, *_JOB_HOOKS))
    _hook(queue.__class__, _QUEUE_HOOKS)


def _worker_made(worker: Any, _: Any, __: BaseException | None) -> None:
    _hook(worker.job_class, (*FIELD_HOOKS, *_JOB_HOOKS))
    _hook(worker.__class__, _WORKER_HOOKS)


def _hook(kind: type, hooks: tuple[Hook, ...]) -> None:
    if kind not in _hooked:
        _hooked.add(kind)
        _patches.wrap([kind], hooks)


class _Working(NamedTuple):
    """A worker's loop, while it lasts."""

    kept: Token[bool]
    worker: Worker


def on_worker_starting(worker: Any, *_: Any, **__: Any) -> _Working:
    """A worker begins: prepare for its forks."""
    kept = keeping.set(True)
    _worker_made(worker, None, None)  # it may be older than our hooks
    pool = "simple"
    if spawns(worker):
        pool = "spawn"
        _patches.wrap([worker.__class__], SPAWN_HOOKS)
    elif forks(worker):
        pool = "fork"
    if pool == "simple":
        spans.prepare()
    else:
        prepare()
    describe_broker(worker)
    own = Worker(ENGINE, worker.name, pool, sys.modules["rq"].VERSION, partial(_now, worker))
    own.live()
    return _Working(kept, own)


def _now(worker: Any) -> Now:
    mine = [one.execution for one in tuple(running.values()) if one.worker is worker]
    ids = [(one.context.process_id, one.job_id) for one in mine]
    return Now([queue.name for queue in worker.queues], 1, len(ids), ids)


def _worker_stopped(working: _Working | None, _: Any, __: BaseException | None) -> None:
    if working is not None:
        working.worker.leave()
        keeping.reset(working.kept)


_JOB_HOOKS: Final = (Hook("register_dependency", _deferring), *REVOKING_HOOKS)
_QUEUE_HOOKS: Final = (
    Hook("__init__", after=_queue_made),
    Hook("_enqueue_job", _publishing, on_published),
    Hook("_enqueue_rate_limited_job", _publishing, on_published),
    Hook("schedule_job", _scheduling, on_published),
    Hook("run_sync", _performing_sync, _performed_sync),
)
_WORKER_HOOKS: Final = (
    *HORSE_HOOKS,
    Hook("__init__", after=_worker_made),
    Hook("work", on_worker_starting, _worker_stopped),
    Hook("perform_job", on_started, on_finished),
    Hook("handle_job_retry", _current, _returned_retry),
    Hook("handle_job_failure", _failing, _failed),
)
_ADOPTING_HOOKS: Final = (Hook("handle_job_success", _current, _succeeded),)
"""Where another instrumentation ends its span inside of our hooks around ``perform_job``."""
