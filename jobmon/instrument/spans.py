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

from jobmon.instrument import context, span_attributes
from jobmon.instrument.context import Frame
from jobmon.instrument.exceptions import message_of, qualified_name
from jobmon.instrument.guard import guarded, note, thrown_in
from jobmon.instrument.redaction import redact_text
from jobmon.model import Outcome
from jobmon.settings import Settings

if TYPE_CHECKING:
    from jobmon.instrument.jobs import Execution

TRACEPARENT_VARIABLE: Final = "TRACEPARENT"
EXCEPTIONS_VARIABLE: Final = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
MOST_JOBS_OF_A_TRACE: Final = 1000
"""From one producing context: Tempo's default limit is 5 MB a trace."""
_DEEPEST_CHAIN: Final = 32
_BREAK_SECONDS: Final = 30.0
_MAX_DESCRIPTION: Final = 1024
_ERRORS: Final = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST})
_TYPE_OF: Final = {Outcome.LOST: "WorkerLost", Outcome.TIMED_OUT: "TimeLimitExceeded"}
_TRACEPARENT_LENGTH: Final = 55
_SAMPLED: Final = "13579bdf"
"""Last digit of the traceparent of a span that is exported."""
_DOUBLE: Final = struct.Struct("d")

_settings: Settings | None = None
_otel: ModuleType | None = None
# Read once: a look at the environment takes a microsecond, and each job would take several.
_incoming = ""
_wanted_by_environment = False
_exceptions = ""
"""How exceptions are told: ``""`` as an event of the span, ``logs`` in the log, or ``logs/dup``."""
_skip_flush_until: Any = bytearray(_DOUBLE.size)
"""On the system's monotonic clock. Shared with forked children once :func:`prepare` was called,
so that a dead collector costs one of them its deadline, not each."""


class SpanHandle:
    """A span of ours, one of another library that we describe, or a trace that passes through.

    Opening, activating and ending are separate: RQ's main process opens a job's span before it
    forks and ends it; the horse has it activated in between.
    """

    __slots__ = (
        "_activates", "_ends", "_pid", "_previous", "_span", "adopted", "error_text",
        "error_type", "span_id", "trace_id", "traceparent",
    )  # fmt: skip

    def __init__(
        self,
        span: Any,
        traceparent: str,
        *,
        described: bool = True,
        ends: bool = True,
        activates: bool = True,
        adopted: bool = False,
    ) -> None:
        self.adopted = adopted
        """Whether it is another instrumentation's, which activates and ends it."""
        self.error_type = ""
        """Class of the error, for a process that ends the span without having the error."""
        self.error_text = ""
        """What is known of it there."""
        self._span = span
        self._ends = ends
        self._activates = activates
        self._pid = os.getpid()
        self._previous: Any = None
        self._name_after(traceparent, described)

    def _name_after(self, traceparent: str, described: bool) -> None:
        self.traceparent = traceparent
        """W3C text of the context that what is published from here is created in."""
        self.trace_id = traceparent[3:35]
        self.span_id = traceparent[36:52] if described and traceparent[54] in _SAMPLED else ""
        """Empty where no span of this execution will be exported."""

    @property
    def recording(self) -> bool:
        """Whether the span will be exported."""
        return self._span is not None and self._span.is_recording()

    @guarded
    def activate(self) -> None:
        """Make it the current span of this context."""
        if self._activates and self._span is not None and _otel is not None:
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
            if settings.otel.record_exception_message:
                if error is not None:
                    message = message_of(error, settings, _MAX_DESCRIPTION)
                elif self.error_text:
                    message = redact_text(self.error_text, settings)[:_MAX_DESCRIPTION]
            told = None if self.adopted else error  # its own instrumentation tells of it
            otel.fail(span, name, message, told, settings, _exceptions)

    def take_over(self) -> None:
        """End it in this process: the one that opened it, which this is a fork of, is gone."""
        self._pid = os.getpid()

    def look(self) -> None:
        """Find the span, where another instrumentation opens it after our hook has run."""


def configure(settings: Settings) -> None:
    """Take the settings that spans depend on, and the trace that started this process."""
    global _settings, _incoming, _wanted_by_environment, _exceptions
    _settings = settings
    _incoming = os.environ.get(TRACEPARENT_VARIABLE, "")
    _wanted_by_environment = bool(_incoming) or "OTEL_PYTHON_TRACER_PROVIDER" in os.environ
    signals = os.environ.get(EXCEPTIONS_VARIABLE, "").replace(" ", "").split(",")
    _exceptions = next((signal for signal in ("logs/dup", "logs") if signal in signals), "")


def use(tracer_provider: Any) -> None:
    """Make spans by an OpenTelemetry tracer provider, not by the one that the process has.

    Args:
        tracer_provider: None for the process's own again.
    """
    if tracer_provider is not None:
        _load()
    if _otel is not None:
        _otel.use(tracer_provider)


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
def start_command(
    name: str, *, kind: str, run_id: str, started_at: float, schedule: str = ""
) -> SpanHandle | None:
    """Open the span of a command run.

    Args:
        name: The command's.
        kind: ``script``, ``click``, ``django``, ``cron`` or ``beat``.
        run_id: Id of the run.
        started_at: Unix seconds.
        schedule: Of a scheduler's entry.

    Returns:
        None where spans are off, or nobody in this process uses OpenTelemetry.
    """
    otel = _used() if enabled() else None
    if otel is None:
        return None
    attributes = span_attributes.of_command(name, kind, run_id, schedule)
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
    return otel.start_job(
        f"process {execution.job_name}",
        span_attributes.of_job(execution, now),
        now,
        parent=ctx.creation,
        links=links_of(execution),
        new_trace=_begins_a_trace(execution, now, settings),
        engine=execution.engine,
        mode=settings.otel.job_spans,
    )


def adoption(execution: Execution) -> SpanHandle | None:
    """The span of another instrumentation, where that makes the spans of this engine's jobs."""
    settings = _settings
    if settings is None or settings.otel.job_spans != "auto" or _otel is None:
        return None
    return (
        start_job(execution) if enabled() and _otel.is_traced_by_others(execution.engine) else None
    )


def closes_lost() -> bool:
    """Whether this process is to close the spans of jobs that other processes ran."""
    settings = _settings
    return (
        _otel is not None
        and settings is not None
        and settings.otel.enabled
        and settings.otel.close_lost_spans
        and _otel.sdk() is not None
    )


def start_again(execution: Execution, traceparent: str) -> SpanHandle | None:
    """The span of a job, opened once more where the process that had opened it is gone.

    Args:
        execution: The attempt, with the moment it started.
        traceparent: Of the span.

    Returns:
        None where it was another instrumentation's, or is not ours to make.
    """
    settings = _settings
    if settings is None or _otel is None or not closes_lost():
        return None
    if settings.otel.job_spans != "always" and _otel.is_traced_by_others(execution.engine):
        return None
    attributes = span_attributes.of_job(execution, execution.started_at)
    return _otel.start_again(
        f"process {execution.job_name}",
        attributes | {"jobmon.synthetic": True},
        execution.started_at,
        traceparent,
        parent=execution.context.creation,
        links=links_of(execution),
    )


def links_of(execution: Execution) -> dict[str, str]:
    """Traceparents that a job's span is linked to, by the type of the link."""
    ctx = execution.context
    links = {"creation": ctx.creation, "command": ctx.command_span}
    if ctx.attempt > 1:
        links["retry_of"] = ctx.retry_of
    return links


def _begins_a_trace(execution: Execution, now: float, settings: Settings) -> bool:
    relation = settings.otel.trace_relation
    if relation != "auto":
        return relation == "link"
    ctx = execution.context
    # Without a command nobody knows when the trace began; it is not younger than the job.
    began = ctx.trace_started_at or ctx.created_at or now
    return now - began > settings.otel.trace_max_age_seconds or ctx.hop > _DEEPEST_CHAIN


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
    except BaseException as error:
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
        frame.started_at, frame.hop = time.time(), 0
    return frame.fanout or creation


def _used() -> Any:
    """The module that calls the API, if anybody in this process has a use for it."""
    if _otel is None and ("opentelemetry.trace" in sys.modules or _wanted_by_environment):
        _load()
    return _otel


def _load() -> None:
    global _otel
    from jobmon.instrument import otel

    _otel = otel
