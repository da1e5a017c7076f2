"""Spans of commands and jobs, and the trace context that messages carry.

This module decides; :mod:`jobmon.instrument.otel` makes the calls. The OpenTelemetry API is
imported only where the process uses it already, where a trace comes in through the environment,
or by :func:`prepare`: without it nobody can have set up an SDK, and there is nothing to do.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import MutableMapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from jobmon.instrument import context
from jobmon.instrument.context import Frame
from jobmon.instrument.exceptions import message_of, qualified_name
from jobmon.instrument.guard import guarded, note, thrown_in
from jobmon.model import Outcome
from jobmon.settings import Settings

if TYPE_CHECKING:
    from jobmon.instrument.jobs import Execution

TRACEPARENT_VARIABLE: Final = "TRACEPARENT"
MOST_JOBS_OF_A_TRACE: Final = 1000
"""From one producing context: Tempo's default limit is 5 MB a trace."""
_DEEPEST_CHAIN: Final = 32
_BREAK_SECONDS: Final = 30.0
_MAX_DESCRIPTION: Final = 1024
_ERRORS: Final = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST})
_TYPE_OF: Final = {Outcome.LOST: "WorkerLost", Outcome.TIMED_OUT: "TimeLimitExceeded"}
_DOUBLE: Final = struct.Struct("d")

_settings: Settings | None = None
_otel: ModuleType | None = None
# Read once: a look at the environment takes a microsecond, and each job would take several.
_incoming = ""
_wanted_by_environment = False
_skip_flush_until: Any = bytearray(_DOUBLE.size)
"""On the system's monotonic clock. Shared with forked children once :func:`prepare` was called,
so that a dead collector costs one of them its deadline, not each."""


class SpanHandle:
    """A span of ours, one of another library that we describe, or a trace that passes through.

    Opening, activating and ending are separate: RQ's main process opens a job's span before it
    forks and ends it; the horse has it activated in between.
    """

    __slots__ = (
        "_ends", "_pid", "_previous", "_span", "error_type", "span_id", "trace_id", "traceparent",
    )  # fmt: skip

    def __init__(self, span: Any, traceparent: str, *, described: bool, ends: bool) -> None:
        self.traceparent = traceparent
        """W3C text of the context that what is published from here is created in."""
        self.trace_id = traceparent[3:35]
        self.span_id = traceparent[36:52] if described else ""
        self.error_type = ""
        """Class of the error, for a process that ends the span without having the error."""
        self._span = span
        self._ends = ends
        self._pid = os.getpid()
        self._previous: Any = None

    @property
    def recording(self) -> bool:
        """Whether the span will be exported."""
        return self._span is not None and self._span.is_recording()

    @guarded
    def activate(self) -> None:
        """Make it the current span of this context."""
        if self._span is not None and _otel is not None:
            self._previous = _otel.attach(self._span)

    @guarded
    def deactivate(self) -> None:
        """Give the context back what was current before, wherever that is seen."""
        previous, self._previous = self._previous, None
        if previous is not None and _otel is not None:
            _otel.detach(*previous)

    @guarded
    def end(
        self,
        outcome: Outcome | None,
        error: BaseException | None = None,
        *,
        exit_code: int | None = None,
        expected: bool = False,
    ) -> None:
        """Say how it ended, and end it unless it is not ours or this is not its process.

        Args:
            outcome: None where nobody knows.
            error: What was raised, if anything.
            exit_code: Of a command.
            expected: The job's own code declares this error as part of its work.
        """
        span, self._span = self._span, None
        if span is None or self._pid != os.getpid() or _otel is None:
            return
        if span.is_recording():
            self._describe_end(_otel, span, outcome, error, exit_code, expected)
        if self._ends:
            span.end()

    def _describe_end(
        self,
        otel: Any,
        span: Any,
        outcome: Outcome | None,
        error: BaseException | None,
        exit_code: int | None,
        expected: bool,
    ) -> None:
        settings = _settings
        if settings is None or outcome is None:
            return
        kind = "command" if exit_code is not None else "job"
        span.set_attribute(f"jobmon.{kind}.outcome", str(outcome))
        if exit_code is not None:
            span.set_attribute("process.exit.code", exit_code)
        name = qualified_name(type(error)) if error is not None else self.error_type
        if outcome is Outcome.RETRIED and name:
            span.set_attribute("jobmon.job.retry_reason", name)
        if expected:
            span.set_attribute("jobmon.job.expected", True)
        elif outcome in _ERRORS:
            if not name or (exit_code is not None and isinstance(error, SystemExit)):
                name = str(exit_code) if exit_code is not None else _TYPE_OF.get(outcome, "_OTHER")
            message = ""
            if error is not None and settings.otel.record_exception_message:
                message = message_of(error, settings, _MAX_DESCRIPTION)
            otel.fail(span, name, message, error, settings)


def configure(settings: Settings) -> None:
    """Take the settings that spans depend on, and the trace that started this process."""
    global _settings, _incoming, _wanted_by_environment
    _settings = settings
    _incoming = os.environ.get(TRACEPARENT_VARIABLE, "")
    _wanted_by_environment = bool(_incoming) or "OTEL_PYTHON_TRACER_PROVIDER" in os.environ


@guarded
def prepare() -> None:
    """Get ready to fork: what every child would have to import or set up, done once."""
    global _skip_flush_until
    if not enabled():
        return
    _load()
    if isinstance(_skip_flush_until, bytearray):
        _skip_flush_until = mmap.mmap(-1, mmap.PAGESIZE)


def enabled() -> bool:
    """Whether spans are wanted (``otel.enabled``)."""
    return _settings is not None and _settings.otel.enabled


@guarded
def start_command(name: str, *, kind: str, run_id: str, started_at: float) -> SpanHandle | None:
    """Open the span of a command run.

    Args:
        name: The command's.
        kind: ``script``, ``click``, ``django``, ``cron`` or ``beat``.
        run_id: Id of the run.
        started_at: Unix seconds.

    Returns:
        None where spans are off, or nobody in this process uses OpenTelemetry.
    """
    otel = _used() if enabled() else None
    if otel is None:
        return None
    attributes: dict[str, Any] = {
        "jobmon.command.name": name,
        "jobmon.command.kind": kind,
        "jobmon.command.run_id": run_id,
        "process.executable.name": os.path.basename(sys.executable or sys.argv[0]),
        "process.pid": os.getpid(),
    }
    return otel.start_command(f"command {name}", attributes, started_at)


@guarded
def start_job(execution: Execution) -> SpanHandle | None:
    """Open the span of one attempt: child of what created the job and linked to it.

    A new trace with the same links where the command is long gone, or the chain of jobs deep.
    """
    settings = _settings
    if settings is None or not settings.otel.enabled:
        return None
    ctx = execution.context
    otel = _used()
    if otel is None:
        return (
            SpanHandle(None, ctx.creation, described=False, ends=False)
            if len(ctx.creation) == _TRACEPARENT_LENGTH
            else None
        )
    if not ctx.creation and otel.sdk() is None:
        return None
    now = execution.started_at or time.time()
    relation = settings.otel.trace_relation
    if relation == "auto":
        age = now - ctx.command_started_at if ctx.command_started_at else 0.0
        old = age > settings.otel.trace_max_age_seconds or ctx.hop > _DEEPEST_CHAIN
        relation = "link" if old else "child"
    links = {"creation": ctx.creation, "command": ctx.command_span}
    if ctx.attempt > 1:
        links["retry_of"] = ctx.retry_of
    return otel.start_job(
        f"process {execution.job_name}",
        _attributes(execution, now),
        now,
        parent=ctx.creation,
        links=links,
        new_trace=relation == "link",
        engine=execution.engine,
    )


_TRACEPARENT_LENGTH: Final = 55


def held_elsewhere(traceparent: str) -> SpanHandle | None:
    """A span that another process opened and will end, to be activated in this one."""
    otel = _used() if enabled() and len(traceparent) == _TRACEPARENT_LENGTH else None
    return None if otel is None else otel.held_elsewhere(traceparent)


def creation_context(frame: Frame | None) -> tuple[str, str]:
    """What a message that is published now says of its trace.

    Args:
        frame: What it is published from.

    Returns:
        Traceparents of the context it is created in and of its command's span; empty where no
        span is open and no trace comes in.
    """
    if not enabled():
        return "", ""
    try:
        return _creation_context(frame)
    except Exception as error:
        if thrown_in(error):
            raise
        note("creation_context")
        return "", ""


def inject(carrier: MutableMapping[str, Any], creation: str) -> None:
    """Write W3C headers beside ours, for consumers and instrumentations that read only those.

    Args:
        carrier: The message's headers.
        creation: Traceparent that the message carries in our own header; empty does nothing.
    """
    if creation:
        if _otel is not None:
            guarded(_otel.inject)(carrier)
        carrier["traceparent"] = creation


def flush_spans(timeout_seconds: float) -> bool:
    """Export what the SDK still holds, in a process that ends without ``atexit``.

    ``force_flush`` takes 7 to 10 s on a dead collector, whatever timeout it is given; so it runs
    on a thread of its own. After an overrun nobody tries for 30 s.

    Returns:
        Whether all was exported; True without an SDK.
    """
    provider = _otel.sdk() if _otel is not None and enabled() else None
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return True
    if time.monotonic() < _DOUBLE.unpack_from(_skip_flush_until)[0]:
        return False
    done = threading.Event()

    def export() -> None:
        guarded(force_flush)(max(1, int(timeout_seconds * 1000)))
        done.set()

    try:
        threading.Thread(target=export, name="jobmon-spans", daemon=True).start()
    except RuntimeError:  # the interpreter is on its way out
        return False
    if done.wait(timeout_seconds):
        return True
    _DOUBLE.pack_into(_skip_flush_until, 0, time.monotonic() + _BREAK_SECONDS)
    return False


def _creation_context(frame: Frame | None) -> tuple[str, str]:
    otel = _used()
    own = frame.span if frame is not None else None
    incoming = ""
    if frame is None or (frame.job is None and own is None):
        incoming = _incoming
    creation, recording = otel.current() if otel is not None else ("", False)
    if not creation:
        # A thread of the user's own has no current span; the frame it belongs to has one.
        creation = own.traceparent if own is not None else incoming
        recording = own is not None and own.recording
    command = ""
    if frame is not None and not _is_another_run(frame):
        if frame.job is not None:
            command = frame.job.command_span
        else:
            command = own.traceparent if own is not None else incoming
    if frame is not None and recording and otel is not None:
        creation = _fanned_out(otel, frame, creation, command)
    return creation, command


def _is_another_run(frame: Frame) -> bool:
    said = context.explicit.get()
    return said is not None and bool(said.process_id) and said.process_id != frame.process_id


def _fanned_out(otel: Any, frame: Frame, creation: str, command: str) -> str:
    """Past 1,000 jobs of one producer, a root of its own for each further 1,000."""
    if _settings is None or _settings.otel.trace_relation != "auto":
        return creation
    earlier = frame.published
    frame.published = earlier + 1
    if earlier and earlier % MOST_JOBS_OF_A_TRACE == 0:
        attributes = {
            "jobmon.command.name": frame.command,
            "jobmon.command.run_id": frame.process_id,
        }
        link = command or creation
        frame.fanout = otel.fan_out(f"fanout {frame.command}", attributes, link)
    return frame.fanout or creation


def _attributes(execution: Execution, now: float) -> dict[str, Any]:
    ctx = execution.context
    ready_at = max(ctx.enqueued_at, ctx.eta)
    found: dict[str, Any] = {
        "messaging.system": execution.engine,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": execution.queue or ctx.queue,
        "messaging.message.id": execution.job_id,
        "messaging.message.conversation_id": ctx.root_id or execution.root_id,
        "jobmon.job.name": execution.job_name,
        "jobmon.job.attempt": ctx.attempt,
        "jobmon.job.group_id": execution.group_id,
        "jobmon.command.name": ctx.command,
        "jobmon.command.run_id": ctx.process_id,
        "jobmon.worker.name": execution.worker,
    }
    if ctx.eta:
        found["jobmon.job.eta"] = ctx.eta
    if ready_at:
        found["jobmon.job.queue_time"] = round(max(0.0, now - ready_at), 6)
    return {name: value for name, value in found.items() if value != ""}


def _used() -> Any:
    """The module that calls the API, if anybody in this process has a use for it."""
    if _otel is None and ("opentelemetry.trace" in sys.modules or _wanted_by_environment):
        _load()
    return _otel


def _load() -> None:
    global _otel
    from jobmon.instrument import otel

    _otel = otel
