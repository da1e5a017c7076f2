"""What both engines record of a job: published, started, ended.

An engine module says *when* something happened and hands over plain values; this module builds
the record and the transition, opens and closes the job's frame and span, and measures.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextvars import Token
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jobmon.instrument import context, exceptions, recorder, redaction, spans
from jobmon.instrument.context import Frame, JobContext
from jobmon.instrument.memory import PeakMemory
from jobmon.model import STATUS_OF, Outcome, Stage, Status, Transition
from jobmon.settings import Settings

RECORD_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 16 * 1024

Arguments = Callable[[], tuple[object, object]]
"""Gives (args, kwargs) of a job, only when they are going to be recorded."""

_encode: Final = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str
).encode
_settings: Settings | None = None
_constants = b""


@dataclass(slots=True, eq=False)
class Execution:
    """One attempt of a job that runs, ran or was to run in a process of this worker."""

    engine: str
    job_id: str
    job_name: str
    context: JobContext
    queue: str = ""
    worker: str = ""
    delivery: int = 0
    """0, or the start in ms when the broker says *redelivered*."""
    group_id: str = ""
    parent_id: str = ""
    root_id: str = ""
    arguments: Arguments | None = None
    started_at: float = 0.0
    """Unix seconds; 0 before the start."""
    started_ticks: float = 0.0
    ended_ticks: float = 0.0
    """When the user's code returned, where the engine itself has work to do after it; else 0."""
    memory: PeakMemory | None = None
    span: spans.SpanHandle | None = None
    frame: Frame | None = None
    token: Token[Frame | None] | None = None
    pid: int = field(default_factory=os.getpid)


def configure(settings: Settings) -> None:
    """Take the settings that records depend on."""
    global _settings, _constants
    _settings = settings
    constants: dict[str, object] = {
        "host": platform.node(),
        "app": settings.app,
        "environment": settings.environment,
        "release": settings.release,
        "tags": list(settings.tags),
        "v": RECORD_VERSION,
    }
    _constants = _encode({k: v for k, v in constants.items() if v})[1:].encode()


def enabled() -> bool:
    """Whether jobs are recorded at all (``monitoring.job_correlation_enabled``)."""
    return _settings is not None and _settings.monitoring.job_correlation_enabled


def publish_context(
    job_id: str, queue: str, *, eta: float = 0.0, previous: JobContext | None = None
) -> JobContext:
    """Context to write into a message: run, attempt, times and, with a span, its trace."""
    own = context.published_from_here(job_id, queue, eta=eta, previous=previous)
    if previous is not None:
        return own
    creation, command_span = spans.creation_context(context.current())
    return replace(own, creation=creation, command_span=command_span)


def published(execution: Execution) -> None:
    """Record ``pending``: a message of this job is with the broker."""
    ctx = execution.context
    ready_at = max(ctx.enqueued_at, ctx.eta)
    _record(execution, Status.PENDING, Stage.ENQUEUED, at=ready_at)


def start(execution: Execution, *, measure_memory: bool, open_span: bool = True) -> None:
    """Record ``processing`` and make the job the current frame of this context.

    Args:
        execution: What the engine knows; its times, frame and span are filled in here.
        measure_memory: True where one job at a time runs in the process.
        open_span: False where another process of the worker holds the job's span.
    """
    ctx = execution.context
    execution.pid = os.getpid()
    execution.started_at = time.time()
    if execution.delivery:
        execution.delivery = int(execution.started_at * 1000)
    if open_span and execution.span is None:
        execution.span = spans.start_job(execution)
    frame = Frame(
        ctx.process_id,
        ctx.command,
        ctx.manual,
        started_at=ctx.command_started_at,
        job=ctx,
        job_started_at=execution.started_at,
        span=execution.span,
    )
    execution.frame = frame
    execution.token = context.enter(frame)
    if execution.span is not None:
        execution.span.activate()
    _record(execution, Status.PROCESSING, Stage.STARTED, at=execution.started_at)
    if measure_memory:
        execution.memory = PeakMemory()
        execution.memory.start()
    execution.started_ticks = time.perf_counter()


def finish(
    execution: Execution,
    outcome: Outcome,
    *,
    error: BaseException | None = None,
    error_text: str = "",
    ready_at: float = 0.0,
) -> None:
    """Record how the execution ended, where it ran.

    Args:
        execution: As :func:`start` left it.
        outcome: How it ended.
        error: What was raised, for a failed or retried execution.
        error_text: Its traceback as text, where no traceback object is left.
        ready_at: When the next attempt can start (retried only), Unix seconds.
    """
    elapsed = (execution.ended_ticks or time.perf_counter()) - execution.started_ticks
    peak = execution.memory.stop() if execution.memory is not None else 0
    try:
        _end(execution, outcome, elapsed, peak, error, error_text, ready_at)
    finally:
        close(execution, outcome, error)


def close(execution: Execution, outcome: Outcome, error: BaseException | None = None) -> None:
    """Leave the execution's frame and end its span."""
    if execution.frame is not None and execution.token is not None:
        context.leave(execution.frame, execution.token)
        execution.frame = execution.token = None
    if execution.span is not None:
        execution.span.deactivate()
        execution.span.end(outcome, error)
        execution.span = None


def abandon(execution: Execution) -> None:
    """Leave the execution's frame, its end being told by another process or by nobody."""
    if execution.frame is not None and execution.token is not None:
        context.leave(execution.frame, execution.token)
        execution.frame = execution.token = None
    if execution.span is not None:
        execution.span.deactivate()


def end_elsewhere(
    execution: Execution,
    outcome: Outcome,
    *,
    error: BaseException | None = None,
    error_text: str = "",
    peak_memory_bytes: int = 0,
    ready_at: float = 0.0,
) -> None:
    """Record an end that another process of the worker saw: a child killed, revoked, lost.

    ``execution.started_at`` stays 0 for a job that never started.
    """
    elapsed = max(0.0, time.time() - execution.started_at) if execution.started_at else 0.0
    _end(execution, outcome, elapsed, peak_memory_bytes, error, error_text, ready_at)


def _end(
    execution: Execution,
    outcome: Outcome,
    elapsed: float,
    peak: int,
    error: BaseException | None,
    error_text: str,
    ready_at: float,
) -> None:
    settings = _settings
    if settings is None:
        return
    status = STATUS_OF[outcome]
    now = time.time()
    stages = Stage.LOST if outcome is Outcome.LOST else Stage.ENDED
    if execution.started_at:
        stages |= Stage.STARTED
    described = (
        exceptions.describe(error, settings, text=error_text)
        if error is not None or error_text
        else None
    )
    _record(
        execution,
        status,
        stages,
        at=max(ready_at, now) if status is Status.RETRYING else now,
        outcome=outcome,
        finished_at=now,
        elapsed=elapsed if execution.started_at else None,
        peak=peak,
        error=described,
    )


def _record(
    execution: Execution,
    status: Status,
    stages: Stage,
    *,
    at: float,
    outcome: Outcome | None = None,
    finished_at: float = 0.0,
    elapsed: float | None = None,
    peak: int = 0,
    error: dict[str, Any] | None = None,
) -> None:
    settings = _settings
    if settings is None or not settings.monitoring.job_correlation_enabled:
        return
    ctx = execution.context
    queue = execution.queue or ctx.queue
    queue_time = -1.0
    if execution.started_at and ctx.enqueued_at:
        queue_time = max(0.0, execution.started_at - max(ctx.enqueued_at, ctx.eta))
    record: dict[str, object] = {"queue": queue, "class": execution.job_name}
    if ctx.job_type:
        record["job_type"] = ctx.job_type
    record["command_name"] = ctx.command
    record["process_id"] = ctx.process_id
    record["engine"] = execution.engine
    if ctx.created_at:
        record["created_at"] = ctx.created_at
    if ctx.enqueued_at:
        record["enqueued_at"] = ctx.enqueued_at
    if ctx.eta:
        record["eta"] = ctx.eta
    if execution.started_at:
        record["started_at"] = execution.started_at
    if finished_at:
        record["finished_at"] = finished_at
    if queue_time >= 0:
        record["queue_time"] = round(queue_time, 6)
    if elapsed is not None:
        record["execution_time"] = round(elapsed, 6)
    if peak:
        record["memory_usage"] = peak
    if outcome is not None:
        record["outcome"] = str(outcome)
    if error is not None:
        record["error"] = error
    if execution.worker:
        record["worker"] = execution.worker
    parent_id = ctx.parent_id or execution.parent_id
    if parent_id and parent_id != execution.job_id:
        record["parent_id"] = parent_id
    root_id = ctx.root_id or execution.root_id
    if root_id:
        record["root_id"] = root_id
    if execution.group_id:
        record["group_id"] = execution.group_id
    if execution.span is not None and execution.span.trace_id:
        record["trace_id"] = execution.span.trace_id
        record["span_id"] = execution.span.span_id
    keep = settings.arguments.record
    failing = outcome in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.RETRIED)
    if execution.arguments is not None and (keep == "all" or (keep == "failed" and failing)):
        args, kwargs = execution.arguments()
        record["arguments"] = {
            "args": redaction.redact(args, settings),
            "kwargs": redaction.redact(kwargs, settings),
        }
    recorder.record(
        Transition(
            process_id=ctx.process_id,
            command=ctx.command,
            manual=ctx.manual,
            job_id=execution.job_id,
            engine=execution.engine,
            queue=queue,
            job_name=execution.job_name,
            status=str(status),
            outcome=str(outcome) if outcome is not None else "",
            attempt=ctx.attempt,
            delivery=execution.delivery,
            stages=int(stages),
            at_ms=int(at * 1000),
            execution_us=int(elapsed * 1_000_000) if elapsed is not None else 0,
            queue_time_us=int(queue_time * 1_000_000) if queue_time >= 0 else -1,
            peak_memory_bytes=peak,
            error_type=str(error["class"]) if error is not None else "",
            body=_body(record),
        )
    )


def _body(record: dict[str, object]) -> bytes:
    """The record from its second member on, at most :data:`MAX_RECORD_BYTES` long.

    What is too long loses its exception first, then its arguments.
    """
    room = MAX_RECORD_BYTES - 256 - len(_constants)
    encoded = _dump(record)
    for name in ("error", "arguments"):
        if len(encoded) <= room:
            break
        if name == "error" and isinstance(record.get("error"), dict):
            error: Any = record["error"]
            record["error"] = {"class": error.get("class", ""), "message": "[truncated]"}
        else:
            record.pop(name, None)
        encoded = _dump(record)
    return encoded[1:-1] + b"," + _constants


def _dump(record: dict[str, object]) -> bytes:
    return _encode(record).encode("utf-8", "replace")
