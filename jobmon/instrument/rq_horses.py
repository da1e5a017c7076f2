"""Jobs that run: here, or in the work horse that this process forked or spawned.

What a horse touches for the first time is a page copied from its main process, which costs more
than the work itself. So the main process does all it can before the fork, and a horse that has
nothing to tell but success says so in a page that both share; all else goes by the hand-over.
The main process says how a job ended whose horse could not.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from jobmon.instrument import jobs, open_runs, recorder, span_attributes, spans
from jobmon.instrument.child_process import BOOTSTRAP
from jobmon.instrument.guard import thrown_in
from jobmon.instrument.jobs import Execution
from jobmon.instrument.memory import MAXRSS_BYTES
from jobmon.instrument.patches import Hook
from jobmon.instrument.quiet import quiet
from jobmon.instrument.rq_field import ENGINE, context_of, seconds
from jobmon.instrument.rq_message import of_job
from jobmon.model import Outcome, RunTransition, Status, Transition

CATCH_UP_SECONDS: Final = 0.5

_SUCCESS: Final = struct.Struct("=?d")
"""In the shared page: whether the job completed, and how many seconds it took."""
_SPAWN_VARIABLE: Final = "JOBMON_RQ_HORSE"
_OUTCOME_OF: Final = {
    "finished": Outcome.COMPLETED,
    "failed": Outcome.FAILED,
    "stopped": Outcome.REVOKED,
    "canceled": Outcome.REVOKED,
    "queued": Outcome.RETRIED,
    "scheduled": Outcome.RETRIED,
}
"""What RQ's own status says of a job whose horse is gone."""


@dataclass(slots=True, eq=False)
class Running:
    """One execution, as the main process or the performing process knows it."""

    worker: Any
    job: Any
    execution: Execution
    main_pid: int
    pid: int
    """The process that performs it; before the fork, the main process."""
    performing: bool = False
    horse: bool = False
    reaped: bool = False
    """The main process saw the horse's end."""
    overdue: bool = False
    """RQ killed the horse, which had outlived the job's time limit and RQ's patience."""
    outcome: Outcome | None = None
    """How it ended, once somebody said so."""
    error: BaseException | None = None
    error_text: str = ""
    error_type: str = ""
    """Class of the error that a horse reported."""
    ready_at: float = 0.0
    """When the next attempt can start, once that was published."""
    peak_memory_bytes: int = 0


running: Final[dict[str | None, Running]] = {}
"""By job id. A fork takes its copy along: so a horse knows what it was forked for."""
_forked: Running | None = None
"""What the horse of this main process runs; one at a time."""
_kinds: Final[dict[type, tuple[bool, bool]]] = {}
"""Whether workers of a class fork, and whether they spawn."""
_shared: mmap.mmap | None = None
"""Page of the main process and its horses."""


def begin(job: Any, queue: Any, worker: Any) -> Running:
    """Open an execution in this process."""
    queue_name = queue.name if queue is not None else job.origin
    opened = Running(
        worker, job, execution_of(job, queue_name, worker.name), os.getpid(), os.getpid()
    )
    running[job.id] = opened
    return opened


def execution_of(job: Any, queue_name: str, worker_name: str = "") -> Execution:
    """What records say of the job's current attempt."""
    own = context_of(job)
    if getattr(job, "rate_limit_key", None):
        # A job that had to wait for a slot is put into its queue by a script of RQ's.
        own = replace(own, enqueued_at=max(own.enqueued_at, seconds(job.enqueued_at)))
    return Execution(
        ENGINE,
        job.id,
        own.job_name,
        own,
        queue=queue_name,
        worker=worker_name,
        # A job with dependencies is pending twice: when it is put off, and when they are met.
        # Rounded as the hash has it, so that every process finds the same number.
        delivery=int(round(own.enqueued_at, 6) * 1000) if job._dependency_ids else 0,
        group_id=getattr(job, "group_id", None) or "",
        function=own.job_name if "." in own.job_name else "",
        message=partial(of_job, job),
    )


def forks(worker: Any) -> bool:
    """Whether the worker performs each job in a process of its own."""
    from rq.worker import SimpleWorker, Worker

    # SimpleWorker is a Worker before RQ 2.7.
    return isinstance(worker, Worker) and not isinstance(worker, SimpleWorker)


def spawns(worker: Any) -> bool:
    """Whether that process is a new interpreter, not a fork of this one."""
    import rq.worker

    spawn_worker = getattr(rq.worker, "SpawnWorker", None)  # new in RQ 2.2
    return spawn_worker is not None and isinstance(worker, spawn_worker)


def prepare() -> None:
    """Become a worker's main process, ready to fork."""
    global _shared
    if _shared is None:
        _shared = mmap.mmap(-1, mmap.PAGESIZE)
    spans.prepare()
    recorder.open_handover(heard)


def describe_broker(worker: Any) -> None:
    """Say which Redis a worker takes its jobs from."""
    options: dict[str, Any] = worker.connection.connection_pool.connection_kwargs
    address, port = options.get("host"), options.get("port")
    if not address:
        address, port = options.get("path"), None
    span_attributes.describe_broker(ENGINE, "redis", address, port)


def tell_success(current: Running, elapsed: float) -> bool:
    """In a forked horse: leave word with the main process, if it lives to read it."""
    if _shared is None or os.getppid() != current.main_pid:
        return False
    _SUCCESS.pack_into(_shared, 0, True, elapsed)
    return True


def heard(item: Transition | RunTransition) -> None:
    """Something a horse said, on the thread that reads the hand-over."""
    open_runs.heard(item)
    current = _forked
    if current is None or not isinstance(item, Transition):
        return
    own = current.execution.context
    if (item.job_id, item.attempt, item.process_id) != (own.job_id, own.attempt, own.process_id):
        return
    if item.outcome:
        current.error_type = item.error_type
        current.outcome = Outcome(item.outcome)
    elif item.status == Status.PROCESSING:
        current.execution.started_at = item.at_ms / 1000


def on_lost(lost: Running, outcome: Outcome, text: str) -> None:
    """The main process says how an execution ended whose horse did not."""
    lost.outcome = outcome
    if lost.execution.span is not None:
        lost.execution.span.error_text = text
    jobs.end_elsewhere(
        lost.execution,
        outcome,
        error_text="" if outcome in (Outcome.REVOKED, Outcome.COMPLETED) else text,
        peak_memory_bytes=lost.peak_memory_bytes,
        ready_at=lost.ready_at,
    )


def _fork(worker: Any, job: Any, queue: Any = None, *_: Any, **__: Any) -> Running | None:
    """The main process is about to fork a horse for this job."""
    global _forked
    if worker.__class__ not in _kinds:
        _kinds[worker.__class__] = forks(worker), spawns(worker)
    is_forking, is_spawning = _kinds[worker.__class__]
    if not is_forking:
        return None
    current = _forked = begin(job, queue, worker)
    if is_spawning:
        current.execution.span = spans.start_job(current.execution)
    else:
        jobs.begin(current.execution)
        if _shared is not None:
            _SUCCESS.pack_into(_shared, 0, False, 0.0)
        recorder.children_settle_late(True)
    return current


def _waited(_: Any, result: Any, error: BaseException | None) -> None:
    """The main process saw a horse end; how large it grew is known however it ended."""
    current = _forked
    if current is None or current.main_pid != os.getpid() or error is not None:
        return
    current.reaped = True
    usage: Any = result[2]
    current.peak_memory_bytes = usage.ru_maxrss * MAXRSS_BYTES if usage is not None else 0


def _overdue(_: Any, job: Any, _retpid: Any, ret_val: Any, *__: Any, **___: Any) -> None:
    current = running.get(job.id)
    if current is not None:
        current.overdue = ret_val is None  # RQ does not keep how a horse ended that it killed


def _reaped(current: Running | None, _: Any, error: BaseException | None) -> None:
    """The main process is done with a horse: has it said how the job ended?"""
    global _forked
    if current is None or current.main_pid != os.getpid():
        return
    recorder.children_settle_late(False)
    if error is not None and not current.reaped:
        # A cold shutdown kills the horse in a signal handler, inside of the waiting for it.
        current.reaped = _is_gone(current.worker.horse_pid)
    if current.reaped and current.outcome is None:
        _conclude(current, error)
    _forked = None
    running.pop(current.execution.job_id, None)
    # Without an outcome the worker leaves while its horse lives on, which will have one.
    if current.outcome is not None:
        if current.execution.span is not None:
            current.execution.span.error_type = current.error_type
        jobs.close(current.execution, current.outcome)


def _conclude(current: Running, error: BaseException | None) -> None:
    """Say how a job ended, by the best evidence there is."""
    succeeded, elapsed = (False, 0.0) if _shared is None else _SUCCESS.unpack_from(_shared)
    if succeeded:
        current.outcome = Outcome.COMPLETED
        jobs.end_elsewhere(
            current.execution,
            Outcome.COMPLETED,
            elapsed=elapsed,
            peak_memory_bytes=current.peak_memory_bytes,
        )
        return
    recorder.catch_up(CATCH_UP_SECONDS)
    if current.outcome is None:
        # Not while an exception leaves the worker: its connection may be in the middle of a
        # command.
        outcome = _known_to_rq(current.job) if error is None else Outcome.LOST
        on_lost(current, outcome, "WorkerLost: the work horse ended without a word")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _known_to_rq(job: Any) -> Outcome:
    """How a job ended whose horse was cut off between RQ's last word and ours."""
    try:
        with quiet():
            status = job.get_status()
    except Exception as error:
        if thrown_in(error):
            raise
        # Gone: RQ deletes at once what is not to be kept.
        return Outcome.COMPLETED if job.result_ttl == 0 else Outcome.LOST
    return _OUTCOME_OF.get(status, Outcome.LOST)


def told() -> str | None:
    """The traceparent that a spawned horse was given, else None.

    Puts the environment back as it was, for what the job itself starts.
    """
    text = os.environ.pop(_SPAWN_VARIABLE, "")
    if not text:
        return None
    said: dict[str, Any] = json.loads(text)
    _set_path(said["path"])
    return str(said["span"])


@contextmanager
def _surroundings(traceparent: str) -> Generator[None]:
    """Environment in which a spawned interpreter instruments itself and hands over."""
    path = os.environ.get("PYTHONPATH")
    os.environ[_SPAWN_VARIABLE] = json.dumps({"span": traceparent, "path": path})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(BOOTSTRAP), path)))
    try:
        with recorder.spawning():
            yield
    finally:
        os.environ.pop(_SPAWN_VARIABLE, None)
        _set_path(path)


def _set_path(path: str | None) -> None:
    if path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = path


def _spawn(worker: Any, *_: Any, **__: Any) -> AbstractContextManager[None] | None:
    """SpawnWorker starts an interpreter for each job, which shares nothing with this one."""
    if _forked is None or not spawns(worker):
        return None
    span = _forked.execution.span
    surroundings = _surroundings(span.traceparent if span is not None else "")
    surroundings.__enter__()
    return surroundings


def _spawned(
    surroundings: AbstractContextManager[None] | None, _: Any, __: BaseException | None
) -> None:
    if surroundings is not None:
        surroundings.__exit__(None, None, None)


HORSE_HOOKS: Final = (
    Hook("execute_job", _fork, _reaped),
    Hook("wait_for_horse", after=_waited),
    Hook("handle_work_horse_killed", _overdue),
)
SPAWN_HOOKS: Final = (Hook("fork_work_horse", _spawn, _spawned),)
