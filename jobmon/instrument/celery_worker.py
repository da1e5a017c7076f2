"""What the processes of a Celery worker tell besides the job itself.

A job whose child is killed tells nothing more, nor does one that never started. The worker's
main process sees both, in signals that are rare; where Celery has no signal its method is
wrapped. All of it may be said twice, or late: the store keeps what stands highest.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from jobmon.instrument import (
    celery_eager,
    celery_message,
    celery_spans,
    jobs,
    lost_spans,
    open_runs,
    recorder,
    spans,
)
from jobmon.instrument.celery_job import BUILT_IN, ENGINE, execution_of, module
from jobmon.instrument.context import HEADER, JobContext
from jobmon.instrument.guard import guarded
from jobmon.instrument.jobs import Execution
from jobmon.instrument.patches import Hook, Patches
from jobmon.instrument.wire import Item
from jobmon.instrument.workers import Now, Worker
from jobmon.model import Outcome

_POOLS_WITHOUT_FORK: Final = ("solo", "thread", "gevent", "eventlet")
_ACCEPT_SECONDS: Final = 1.0
"""A child stamps its start a moment after the pool saw it accept the job."""
_HANDOVER_SECONDS: Final = 0.05
_STOPPED: Final = "The worker was stopped."
_SPANS_SECONDS: Final = 1.0
"""Celery waits for a child's last words without limit."""

one_job_at_a_time = False
"""Whether this process runs one job at a time: a child of prefork, the one of solo."""
forks = False
"""Whether the worker of this process runs its jobs in children."""
_patches: Final = Patches()
_workers: Final[dict[int, Worker]] = {}
"""Those of this process that beat, by the identity of Celery's own object."""


def shutdowns() -> tuple[type[BaseException], ...]:
    """What Celery raises in a worker's main process to stop it."""
    errors = module("celery.exceptions")
    return errors.WorkerShutdown, errors.WorkerTerminate


def uninstall() -> None:
    """Restore the methods that are wrapped, and beat for no worker any more."""
    _patches.undo()
    while _workers:
        _workers.popitem()[1].leave()


@guarded
def on_worker_starting(sender: Any, **_: Any) -> None:
    """The main process of a worker, before it forks."""
    global forks
    celery_eager.inside_worker(sender.hostname)
    pool = sender.pool_cls
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    spans.prepare()
    consumer = module("celery.worker.consumer.consumer").Consumer
    request = module("celery.worker.request").Request
    _patches.wrap([consumer], [Hook("on_decode_error", _said, on_undecodable)])
    _patches.wrap(
        [request],
        [
            Hook("cancel", _said, on_cancelled),
            Hook("reject", after=on_given_back),
        ],
    )
    if not any(word in name for word in _POOLS_WITHOUT_FORK):
        forks = True
        recorder.open_handover(_heard)
        _patches.wrap([request], [Hook("on_failure", _said, on_failed)])
    celery_spans.describe_broker(sender.app)
    version: str = module("celery").__version__
    own = _workers[id(sender)] = Worker(
        *(ENGINE, sender.hostname, _pool(name), version),
        *(partial(_now, sender), partial(_known_jobs, sender)),
    )
    own.live()


@guarded
def on_worker_stopped(sender: Any, **_: Any) -> None:
    """The main process of a worker has ended all that it does."""
    own = _workers.pop(id(sender), None)
    if own is not None:
        own.leave()


def _pool(name: str) -> str:
    """What ``--pool`` calls it: at this moment Celery has its alias, its module or its class."""
    last = name.partition(":")[0].rpartition(".")[2]
    return "threads" if last == "thread" else last


def _now(controller: Any) -> Now:
    slots: object = getattr(controller.pool, "num_processes", 0)  # 0 until it has started
    requests = _copied(module("celery.worker.state").active_requests)
    return Now(
        tuple(controller.app.amqp.queues.consume_from),
        slots if isinstance(slots, int) else 0,
        len(requests),
        ((_process_id(one), one.id) for one in requests),
    )


def _known_jobs(controller: Any) -> Iterator[tuple[str, str]] | None:
    """Queue and name of the application's tasks, once the worker has started."""
    app = controller.app
    if not app.finalized or not getattr(controller.pool, "num_processes", 0):
        return None
    named = (
        (name, task) for name, task in list(app.tasks.items()) if not name.startswith(BUILT_IN)
    )
    return ((queue, name) for name, task in named if (queue := _queue_known(app, name, task)))


def _queue_known(app: Any, name: str, task: Any) -> str | None:
    try:
        return _queue_of(app, name, task)
    except Exception:  # of routes that Celery itself could not follow
        return None


def _queue_of(app: Any, name: str, task: Any) -> str | None:
    """The queue that a task goes to; None: a router of the user's own may send it elsewhere.

    Such a router is not asked: it may take long, and what is recorded would wait for it. Nor is a
    ``Queue`` asked for by its name: Celery would add it to those that the worker consumes.
    """
    queue: Any = getattr(task, "queue", None)
    if queue is None:
        table = module("celery.app.routes").MapRoute
        for router in app.amqp.router.routes:
            if type(router) is not table:
                return None
            route: Any = router(name)
            if route is not None:
                queue = route.get("queue")
                break
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _copied(requests: Iterable[Any]) -> list[Any]:
    for _ in range(5):
        with suppress(RuntimeError):  # another thread changed it meanwhile
            return list(requests)
    return []


def _process_id(request: Any) -> str:
    return execution_of(request.id, request.task.name, request.request_dict).context.process_id


def _heard(item: Item) -> None:
    lost_spans.heard(item)
    open_runs.heard(item)


def _said(*said: Any, **_: Any) -> tuple[Any, ...]:
    return said


@guarded
def on_process_starting(**_: Any) -> None:
    """A process that runs one job at a time: a child of prefork, the one of solo."""
    global one_job_at_a_time
    one_job_at_a_time = True


@guarded
def on_process_stopping(**_: Any) -> None:
    """A child of prefork ends next in ``os._exit``, after a hard time limit in 0.1 s."""
    recorder.flush(_HANDOVER_SECONDS)
    spans.flush_spans(_SPANS_SECONDS)


# Jobs that were running


@guarded
def on_lost(task_id: str, exception: BaseException, **_: Any) -> None:
    """A job failed; where its child was killed, only the main process says so, perhaps twice."""
    if _is_end_of_child(exception):
        reported = being_reported(task_id)
        if reported is not None:  # else raised by the job itself
            _broken_off(reported["self"], exception)


def _is_end_of_child(error: BaseException) -> bool:
    """Whether a job's child died of this; some versions tell what made it exit instead."""
    errors = module("billiard.exceptions")
    return isinstance(
        error,
        (errors.WorkerLostError, errors.TimeLimitExceeded, SystemExit, KeyboardInterrupt),
    )


def _broken_off(request: Any, error: BaseException) -> None:
    execution, task = execution_of_request(request), request.task
    if not isinstance(error, module("billiard.exceptions").TimeLimitExceeded):
        jobs.end_elsewhere(execution, Outcome.LOST, error=error)
    elif task.acks_late and not getattr(task, "acks_on_timeout", True):
        jobs.end_elsewhere(execution, Outcome.RETRIED, error=error, again=True)
    else:
        jobs.end_elsewhere(execution, Outcome.TIMED_OUT, error=error)


def on_given_back(request: Any, _result: object, _error: BaseException | None) -> None:
    """A job's message goes back to the broker; if its child died, nothing else says so."""
    reported = being_reported(request.id)
    if reported is None or not reported.get("requeue"):
        return
    error = reported.get("exc")
    if isinstance(error, module("billiard.exceptions").WorkerLostError):
        jobs.end_elsewhere(execution_of_request(request), Outcome.RETRIED, error=error, again=True)


def on_failed(said: Any, _result: object, failure: BaseException | None) -> None:
    """A job failed in a child, or its child did: then nobody else closes its span.

    If Celery failed itself, its results being away, it has said nothing of the job.
    """
    request, info = said[:2]
    error = getattr(info.exception, "exc", info.exception)
    errors = module("billiard.exceptions")
    revoked = getattr(request, "_already_revoked", False)
    if isinstance(error, errors.TimeLimitExceeded):
        outcome = Outcome.TIMED_OUT
    elif isinstance(error, errors.WorkerLostError | errors.Terminated | SystemExit):
        outcome = Outcome.REVOKED if revoked else Outcome.LOST
    else:
        return
    lost_spans.close(execution_of_request(request), outcome, str(error))
    if failure is not None and _is_end_of_child(error):
        _broken_off(request, error)


def on_cancelled(said: Any, _result: object, _error: BaseException | None) -> None:
    """The worker may have stopped a job of its own accord: cold shutdown, connection lost."""
    request = said[0]
    if not getattr(request, "_already_cancelled", False):
        return
    if request.task.acks_late and not request.acknowledged:
        # The broker delivers it again.
        execution = execution_of_request(request)
        lost_spans.close_at_exit(execution, Outcome.LOST, _STOPPED)
        jobs.end_elsewhere(execution, Outcome.RETRIED, again=True)
    else:
        _stopped(request)


@guarded
def on_shutting_down(how: str, **_: Any) -> None:
    """A cold shutdown kills the children; before 5.5 Celery cancels none of their jobs."""
    if how == "Cold" and forks:
        for request in list(module("celery.worker.state").active_requests):
            if not (request.task.acks_late and request.acknowledged):
                _stopped(request)


def _stopped(request: Any) -> None:
    """Record a job that is stopped half-way, and whose message is gone."""
    execution = execution_of_request(request)
    lost_spans.close_at_exit(execution, Outcome.LOST, _STOPPED)
    stopped = module("celery.exceptions").WorkerTerminate(_STOPPED)
    jobs.end_elsewhere(execution, Outcome.LOST, error=stopped)


def retried_elsewhere(task_id: str, following: JobContext) -> None:
    """Record the end of an attempt whose child died and which the main process retries."""
    reported = being_reported(task_id)
    if reported is None:
        return
    execution = execution_of_request(reported["self"])
    jobs.end_elsewhere(
        execution, Outcome.RETRIED, error=reported.get("exc"), ready_at=following.eta
    )


# Jobs that do not run


@guarded
def on_revoked(request: Any, **_: Any) -> None:
    """A job was revoked or expired, before it started or while it ran."""
    reported = being_reported(request.id)
    execution = (
        execution_of(request.id, request.task, request.__dict__)
        if reported is None
        else execution_of_request(reported["self"])
    )
    jobs.end_elsewhere(execution, Outcome.REVOKED)


@guarded
def on_unknown(sender: Any, message: Any, name: str, **said: Any) -> None:
    """This worker has no task of that name; the message is gone."""
    _refused(sender, message, module("celery.exceptions").NotRegistered(name), said["id"], name)


@guarded
def on_rejected(sender: Any, message: Any, exc: BaseException | None, **_: Any) -> None:
    """A message that is no task, or whose content is not accepted; it is gone."""
    _refused(sender, message, exc)


def on_undecodable(said: Any, _result: object, _error: BaseException | None) -> None:
    """A message that cannot be decoded, of which Celery sends no signal; it is gone."""
    consumer, message, error = said
    _refused(consumer, message, error)


@guarded
def on_internal_error(
    sender: Any,
    task_id: str,
    args: object,
    kwargs: object,
    request: dict[str, Any],
    exception: BaseException,
    **_: Any,
) -> None:
    """Celery itself failed around a job, which perhaps never started."""
    if request.get("is_eager"):
        return  # what its caller is about to get, and already recorded
    execution = execution_of(task_id, sender.name, request)
    execution.arguments = lambda: (args, kwargs, sender.run)
    execution.message = lambda: celery_message.of_running_job(execution.queue)
    jobs.end_elsewhere(execution, Outcome.FAILED, error=exception)


def _refused(
    consumer: Any, message: Any, error: BaseException | None, task_id: str = "", name: str = ""
) -> None:
    headers: dict[str, Any] = message.headers or {}
    own = JobContext.decode(headers.get(HEADER))
    # Protocol 1 has id and name in the body.
    task_id = task_id or headers.get("id") or (own.job_id if own is not None else "")
    if not task_id:
        return
    said = {"hostname": consumer.hostname, "delivery_info": message.delivery_info}
    execution = execution_of(task_id, name or headers.get("task") or "unknown", {**headers, **said})
    execution.message = lambda: celery_message.of_message(message, execution.queue)
    jobs.end_elsewhere(execution, Outcome.REJECTED, error=error)


# What the main process knows of a job


def execution_of_request(request: Any) -> Execution:
    """The attempt that a worker's request (``celery.worker.request.Request``) stands for."""
    message: dict[str, Any] = request.request_dict
    execution = execution_of(request.id, request.task.name, message)
    task = request.task
    execution.arguments = lambda: (message.get("args"), message.get("kwargs"), task.run)
    execution.message = lambda: celery_message.of_message(request.message, execution.queue)
    execution.started_at = request.time_start or 0.0
    lost_spans.name(execution)
    if execution.delivery:
        execution.delivery = int((execution.started_at + _ACCEPT_SECONDS) * 1000)
    return execution


def being_reported(task_id: str) -> Mapping[str, Any] | None:
    """Local variables of the request's method that sends what is being handled.

    ``self`` is the request. None where a job itself runs, or none is concerned. The request
    alone knows when the job started and has its message; Celery has already taken it out of
    its own tables, and a table of ours would cost every job a signal.
    """
    caller = inspect.currentframe()
    while caller is not None:
        variables = caller.f_locals
        found: Any = variables.get("self")
        if hasattr(found, "time_start") and getattr(found, "id", None) == task_id:
            return None if caller.f_code.co_name.startswith("execute") else variables
        caller = caller.f_back
    return None
