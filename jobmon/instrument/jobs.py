"""What both engines record of a job: published, started, ended.

An engine module says *when* something happened and hands over plain values; this module builds
the record and the transition, opens and closes the job's frame and span, and measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import Token
from dataclasses import dataclass
from typing import Any, Final

from jobmon.instrument import context, exceptions, record, recorder, roots, spans
from jobmon.instrument.context import Frame, JobContext
from jobmon.instrument.guard import guarded
from jobmon.instrument.memory import PeakMemory
from jobmon.model import STATUS_OF, Outcome, Stage, Status, Transition
from jobmon.settings import Settings

Arguments = Callable[[], tuple[object, object, Callable[..., object] | None]]
"""Gives args and kwargs of a job and, where it is at hand, the function that takes them; only
when they are going to be recorded."""

REDELIVERED: Final = 1
"""The broker says so; the delivery's number is the moment it starts."""

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Of a replayable message; a larger one is not kept, and counted."""

_FAILED: Final = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.REJECTED, Outcome.LOST})
_FAILING: Final = _FAILED | {Outcome.RETRIED}
# Plain numbers: an enumeration's own arithmetic takes a microsecond each time.
_ENQUEUED, _STARTED, _ENDED, _LOST = map(int, Stage)

_settings: Settings | None = None


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
    """As in :class:`Transition`; :data:`REDELIVERED` until it starts."""
    group_id: str = ""
    parent_id: str = ""
    root_id: str = ""
    function: str = ""
    """``module.qualname`` of what runs, where known."""
    arguments: Arguments | None = None
    message: Callable[[], bytes] | None = None
    """Gives its replayable message, only when it is going to be kept; empty for none."""
    built_in: bool = False
    """The engine's own job, not the application's."""
    started_at: float = 0.0
    """Unix seconds; 0 before the start."""
    started_ticks: float = 0.0
    ended_ticks: float = 0.0
    """When the user's code returned, where the engine itself has work to do after it; else 0."""
    memory: PeakMemory | None = None
    span: spans.SpanHandle | None = None
    frame: Frame | None = None
    token: Token[Frame | None] | None = None
    beginning: str = ""
    """Its record as far as the start, once it has started in this process."""


def configure(settings: Settings) -> None:
    """Take the settings that records depend on."""
    global _settings
    _settings = settings
    record.configure(settings)


def enabled() -> bool:
    """Whether jobs are recorded at all (``monitoring.job_correlation_enabled``)."""
    return _settings is not None and _settings.monitoring.job_correlation_enabled


def keeps_arguments() -> bool:
    """Whether the records of jobs that succeed show their arguments (``arguments.record``)."""
    return _settings is not None and _settings.arguments.record == "all"


def publish_context(
    job_id: str, queue: str, *, eta: float = 0.0, previous: JobContext | None = None
) -> JobContext:
    """Context to write into a message: run, attempt, times and, with a span, its trace."""
    if previous is not None:
        return context.published_from_here(job_id, queue, eta=eta, previous=previous)
    creation, command_span = spans.creation_context(context.current())
    own = context.published_from_here(job_id, queue, eta=eta)
    own.creation, own.command_span = creation, command_span
    return own


def published(execution: Execution) -> None:
    """Record ``pending``: a message of this job is with the broker."""
    ctx = execution.context
    _record(execution, Status.PENDING, _ENQUEUED, at=max(ctx.enqueued_at, ctx.eta))


def start(
    execution: Execution, *, measure_memory: bool, open_span: bool = True, silently: bool = False
) -> None:
    """Record ``processing`` and make the job the current frame of this context.

    Args:
        execution: What the engine knows; its times, frame and span are filled in here.
        measure_memory: True where one job at a time runs in the process.
        open_span: False where another process of the worker holds the job's span.
        silently: Record nothing before the end: nobody would see it if it never comes.
    """
    begin(execution, open_span=open_span, silently=silently)
    enter(execution, measure_memory=measure_memory)


def begin(execution: Execution, *, open_span: bool = True, silently: bool = False) -> None:
    """The first half of :func:`start`: all that a main process can do before it forks."""
    ctx = execution.context
    execution.started_at = time.time()
    if execution.delivery == REDELIVERED:
        execution.delivery = int(execution.started_at * 1000)
    if open_span and execution.span is None:
        execution.span = spans.start_job(execution)
    span = execution.span
    anew = span is not None and span.trace_id not in ("", ctx.creation[3:35])
    frame = execution.frame = Frame(
        ctx.process_id,
        ctx.command,
        ctx.manual,
        started_at=execution.started_at if anew else ctx.trace_started_at or ctx.created_at,
        hop=1 if anew else ctx.hop + 1,
        job=ctx,
        job_started_at=execution.started_at,
        span=span,
    )
    execution.token = context.enter(frame)
    execution.beginning = record.beginning(execution, _queue_seconds(execution))
    if not silently:
        _record(execution, Status.PROCESSING, _STARTED, at=execution.started_at)
    if ctx.scheduled and _settings is not None:
        roots.on_started(execution, _settings)


def enter(execution: Execution, *, measure_memory: bool) -> None:
    """The second half of :func:`start`, in the process that performs the job."""
    if execution.span is not None:
        execution.span.activate()
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
    again: bool = False,
    expected: bool = False,
) -> None:
    """Record how the execution ended, where it ran.

    Args:
        execution: As :func:`start` left it.
        outcome: How it ended.
        error: What was raised, for a failed or retried execution.
        error_text: Its traceback as text, where no traceback object is left.
        ready_at: When the next attempt can start (retried only), Unix seconds.
        again: The broker delivers this very attempt again (retried only): it has not ended.
        expected: The job's own code declares such an error as part of its work.
    """
    elapsed = (execution.ended_ticks or time.perf_counter()) - execution.started_ticks
    peak = execution.memory.stop() if execution.memory is not None else 0
    try:
        _end(execution, outcome, elapsed, peak, error, error_text, ready_at, again)
    finally:
        close(execution, outcome, error, expected=expected)


def describe_adopted(
    execution: Execution,
    outcome: Outcome,
    error: BaseException | None = None,
    *,
    expected: bool = False,
) -> None:
    """Tell another instrumentation's span how its job ended, before that instrumentation ends it.

    What is recorded of the job afterwards names the span, wherever it was found.
    """
    span = execution.span
    if span is not None and span.adopted:
        span.end(outcome, error, expected=expected)
        if execution.beginning:
            execution.beginning = record.beginning(execution, _queue_seconds(execution))


def close(
    execution: Execution,
    outcome: Outcome,
    error: BaseException | None = None,
    *,
    expected: bool = False,
) -> None:
    """Leave the execution's frame and end its span."""
    if execution.frame is not None and execution.token is not None:
        context.leave(execution.frame, execution.token)
        execution.frame = execution.token = None
    if execution.span is not None:
        execution.span.deactivate()
        execution.span.end(outcome, error, expected=expected)
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
    elapsed: float | None = None,
    peak_memory_bytes: int = 0,
    ready_at: float = 0.0,
    again: bool = False,
) -> None:
    """Record an end that another process of the worker saw: a child killed, revoked, lost.

    ``execution.started_at`` stays 0 for a job that never started. Without ``elapsed`` (seconds)
    the job is taken to have run until now. ``again`` as for :func:`finish`.
    """
    if elapsed is None:
        elapsed = max(0.0, time.time() - execution.started_at) if execution.started_at else 0.0
    _end(execution, outcome, elapsed, peak_memory_bytes, error, error_text, ready_at, again)


def _end(
    execution: Execution,
    outcome: Outcome,
    elapsed: float,
    peak: int,
    error: BaseException | None,
    error_text: str,
    ready_at: float,
    again: bool,
) -> None:
    settings = _settings
    if settings is None:
        return
    status = STATUS_OF[outcome]
    now = time.time()
    # Each attempt ends once in the totals.
    stages = 0 if again else _LOST if outcome is Outcome.LOST else _ENDED
    if execution.started_at:
        stages |= _STARTED
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
        message=_message(execution, settings) if outcome in _FAILED else b"",
    )
    if execution.context.scheduled:
        roots.on_ended(execution, outcome, now, settings)


def _message(execution: Execution, settings: Settings) -> bytes:
    """What would run the job again; a message that cannot be had costs no record."""
    if execution.message is None or not settings.failed.store_message:
        return b""
    message = guarded(execution.message)() or b""
    if len(message) > MAX_MESSAGE_BYTES:
        recorder.count_dropped("message")
        return b""
    return message


def _record(
    execution: Execution,
    status: Status,
    stages: int,
    *,
    at: float,
    outcome: Outcome | None = None,
    finished_at: float = 0.0,
    elapsed: float | None = None,
    peak: int = 0,
    error: dict[str, Any] | None = None,
    message: bytes = b"",
) -> None:
    settings = _settings
    if settings is None or not settings.monitoring.job_correlation_enabled:
        return
    ctx = execution.context
    queue_seconds = _queue_seconds(execution)
    text = execution.beginning or record.beginning(execution, queue_seconds)
    if outcome is not None:
        text += record.end(finished_at, elapsed, peak, outcome)
    keep = settings.arguments.record
    shown = keep == "all" or (keep == "failed" and outcome in _FAILING)
    shown_arguments = record.arguments(execution, settings) if shown else ""
    # In the order of Transition's fields: by their names, making one takes three times as long.
    recorder.record(
        Transition(
            ctx.process_id,
            ctx.command,
            ctx.manual,
            execution.job_id,
            execution.engine,
            execution.queue or ctx.queue,
            execution.job_name,
            str(status),
            str(outcome) if outcome is not None else "",
            ctx.attempt,
            execution.delivery,
            stages,
            int(at * 1000),
            int(elapsed * 1_000_000) if elapsed is not None else 0,
            int(queue_seconds * 1_000_000) if queue_seconds >= 0 else -1,
            peak,
            str(error["class"]) if error is not None else "",
            record.complete(text, error, shown_arguments),
            message,
        )
    )


def _queue_seconds(execution: Execution) -> float:
    """From when the attempt could start to when it did; -1 while unknown."""
    ctx = execution.context
    if not execution.started_at or not ctx.enqueued_at:
        return -1.0
    return max(0.0, execution.started_at - max(ctx.enqueued_at, ctx.eta))
