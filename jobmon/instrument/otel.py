"""The calls to the OpenTelemetry API, and to nothing else of it: no SDK is imported or set up.

Imported by spans.py alone, once a process is known to use OpenTelemetry.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import Token
from typing import Any, Final, cast

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind

from jobmon.instrument.guard import guarded
from jobmon.instrument.redaction import redact_text
from jobmon.instrument.spans import SpanHandle
from jobmon.settings import Settings

SCOPE: Final = "jobmon"
_SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
_MAX_STACKTRACE: Final = 16 * 1024
_DEEPEST_STACKTRACE: Final = 100
_INSTRUMENTORS: Final = {
    "celery": ("opentelemetry.instrumentation.celery", "CeleryInstrumentor"),
    "rq": ("opentelemetry_instrumentation_rq", "RQInstrumentor"),
}
_UNNESTED: Final = frozenset({"celery"})
"""Engines whose instrumentations do not enclose one another: handlers of a signal run in the same
order at the start and at the end of a job. Two that each make a span current leave the first one's
current for ever; so only theirs does."""
_NO_SDK: Final = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)

_NAMED: Final = "OTEL_PYTHON_TRACER_PROVIDER" in os.environ
"""Whether the API itself will set up a provider when it is first asked for one."""

_LOG: Final = logging.getLogger("jobmon.exceptions")

_tracer: tuple[object, trace.Tracer] | None = None
_given: trace.TracerProvider | None = None


def use(provider: trace.TracerProvider | None) -> None:
    """Make spans by this provider; None for the process's own again."""
    global _given
    _given = provider


def sdk() -> trace.TracerProvider | None:
    """The provider that somebody set up, or None."""
    provider = _given
    if provider is None:
        if not _NAMED and getattr(trace, "_TRACER_PROVIDER", _NAMED) is None:
            return None  # what the next lines would find, for a tenth of the time
        provider = trace.get_tracer_provider()
    return None if isinstance(provider, _NO_SDK) else provider


def start_command(name: str, attributes: dict[str, Any], started_at: float) -> SpanHandle | None:
    """Open a command's span below the current one, else below the environment's trace."""
    parent = trace.get_current_span().get_span_context()
    surroundings = otel_context.get_current() if parent.is_valid else _environment()
    return _start(name, SpanKind.INTERNAL, attributes, started_at, surroundings)


def start_job(
    name: str,
    attributes: dict[str, Any],
    started_at: float,
    *,
    parent: str,
    links: Mapping[str, str],
    new_trace: bool,
    engine: str,
    mode: str,
) -> SpanHandle | None:
    """Open a job's span, or describe the one that another instrumentation opens for it.

    Args:
        name: Of the span.
        attributes: Of the span, or of the other's.
        started_at: Unix seconds.
        parent: Traceparent of what created the job.
        links: Traceparents by the type of link.
        new_trace: Whether the span is a root all the same.
        engine: ``celery`` or ``rq``.
        mode: ``otel.job_spans``.
    """
    made = _links(links)
    others = is_traced_by_others(engine)
    if others and mode == "never":
        return None
    if others and mode == "auto":
        current = trace.get_current_span()
        if _is_foreign_consumer(current):
            return _adopted(current, attributes, made)
        return _Later(attributes, made)
    created_in = _parsed(parent)
    span: Span = trace.INVALID_SPAN
    passes = mode == "never" or sdk() is None
    if created_in is not None and (passes or not new_trace):
        span = NonRecordingSpan(created_in)
    surroundings = trace.set_span_in_context(span)
    if passes:
        return _passing(surroundings)
    activates = not (others and engine in _UNNESTED)
    return _start(
        name, SpanKind.CONSUMER, attributes, started_at, surroundings, made, activates=activates
    )


def start_again(
    name: str,
    attributes: dict[str, Any],
    started_at: float,
    traceparent: str,
    *,
    parent: str,
    links: Mapping[str, str],
) -> SpanHandle | None:
    """Open a span that a process which is gone had opened, under the same ids.

    Args:
        name: Of the span.
        attributes: Of the span.
        started_at: Unix seconds.
        traceparent: Of the span, which was sampled.
        parent: Traceparent of what created the job.
        links: Traceparents by the type of link.

    Returns:
        None where the SDK is none that lets us choose the ids.
    """
    found, created_in = _parsed(traceparent), _parsed(parent)
    sampling: Any = sys.modules.get("opentelemetry.sdk.trace.sampling")
    tracer: Any = copy.copy(_get_tracer())
    if found is None or sampling is None or not hasattr(tracer, "id_generator"):
        return None
    tracer.id_generator = _Known(found)
    tracer.sampler = sampling.ALWAYS_ON
    below = created_in is not None and created_in.trace_id == found.trace_id
    above = NonRecordingSpan(created_in) if below and created_in else trace.INVALID_SPAN
    span = tracer.start_span(
        name,
        context=trace.set_span_in_context(above),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=_links(links),
        start_time=int(started_at * 1e9),
    )
    return SpanHandle(span, traceparent, activates=False)


class _Known:
    """Stands in for an SDK's generator of ids."""

    def __init__(self, ids: SpanContext) -> None:
        self._ids = ids

    def generate_trace_id(self) -> int:
        return self._ids.trace_id

    def generate_span_id(self) -> int:
        return self._ids.span_id

    def is_trace_id_random(self) -> bool:
        return False


def is_traced_by_others(engine: str) -> bool:
    """Whether another instrumentation makes the span of the job that is about to run here."""
    if sdk() is None:
        return False
    return _is_foreign_consumer(trace.get_current_span()) or _is_instrumented(engine)


def fan_out(name: str, attributes: dict[str, Any], command: str) -> str:
    """Traceparent of a new trace's root that is linked to the command and over at once."""
    root = trace.set_span_in_context(trace.INVALID_SPAN)
    span = _get_tracer().start_span(
        name, context=root, attributes=attributes, links=_links({"command": command})
    )
    span.end()
    return _traceparent(span.get_span_context())


def held_elsewhere(traceparent: str) -> SpanHandle | None:
    """A handle on a span of another process."""
    found = _parsed(traceparent)
    if found is None:
        return None
    return SpanHandle(NonRecordingSpan(found), traceparent, ends=False)


def current() -> tuple[str, bool]:
    """Traceparent of the current span, empty without one, and whether it is recording."""
    span = trace.get_current_span()
    found = span.get_span_context()
    return (_traceparent(found), span.is_recording()) if found.is_valid else ("", False)


def inject(carrier: MutableMapping[str, Any]) -> None:
    """Write the current context by the process's propagators, baggage included."""
    propagate.inject(carrier)


def fail(
    span: Span,
    error_type: str,
    message: str,
    error: BaseException | None,
    settings: Settings,
    signals: str,
) -> None:
    """Mark a span as failed.

    Args:
        span: Not ended yet.
        error_type: Class of the error, or what else it is called.
        message: Redacted; empty where none is wanted.
        error: What was raised, if anything.
        settings: What to redact.
        signals: Where the exception is told: empty for an event of the span, ``logs`` for a
            record of the log, ``logs/dup`` for both.
    """
    span.set_attribute("error.type", error_type)
    span.set_status(trace.Status(trace.StatusCode.ERROR, message or None))
    if error is None:
        return
    told = {"exception.type": error_type}
    if settings.otel.record_exception_message:
        lines = traceback.format_exception(error, limit=-_DEEPEST_STACKTRACE)
        told["exception.message"] = message
        told["exception.stacktrace"] = redact_text("".join(lines), settings)[-_MAX_STACKTRACE:]
    if signals != "logs":
        span.add_event("exception", told)
    if signals:
        # A handler of OpenTelemetry's takes the trace from the context, the rest from `extra`.
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            name = getattr(span, "name", "span")
            _LOG.error("%s failed with %s", name, error_type, extra=told)


def attach(span: Span) -> tuple[Context, object]:
    """Make a span current. Hand what comes back to :func:`detach`."""
    attached = trace.set_span_in_context(span)
    return attached, otel_context.attach(attached)


def detach(attached: Context, token: object) -> None:
    """Undo :func:`attach`, also where another task, greenlet or generator sees the end.

    The API's own ``detach`` logs an error there.
    """
    if not isinstance(token, Token):
        otel_context.detach(cast("Any", token))
        return
    ours = cast("Token[Context]", token)
    try:
        ours.var.reset(ours)
    except (ValueError, RuntimeError):
        if otel_context.get_current() is attached:
            before = ours.old_value
            otel_context.attach(before if isinstance(before, Context) else Context())


class _Later(SpanHandle):
    """The span of an instrumentation whose hook runs after ours, or in another process."""

    __slots__ = ("_attributes", "_links")

    def __init__(self, attributes: dict[str, Any], links: list[Link]) -> None:
        super().__init__(None, "", described=False, ends=False, activates=False, adopted=True)
        self._attributes = attributes
        self._links: list[Link] | None = links

    def activate(self) -> None:
        self.look()

    @guarded
    def look(self) -> None:
        if self._links is None:
            return
        span = trace.get_current_span()
        if _is_foreign_consumer(span):
            _describe(span, self._attributes, self._links)
            self._links = None
            self._span = span
            self._pid = os.getpid()
            self._name_after(_traceparent(span.get_span_context()), described=True)

    def end(self, *args: Any, **kwargs: Any) -> None:
        self.look()
        super().end(*args, **kwargs)


def _start(
    name: str,
    kind: SpanKind,
    attributes: dict[str, Any],
    started_at: float,
    surroundings: Context,
    links: list[Link] | None = None,
    *,
    activates: bool = True,
) -> SpanHandle | None:
    if sdk() is None:
        return _passing(surroundings)
    span = _get_tracer().start_span(
        name,
        context=surroundings,
        kind=kind,
        attributes=attributes,
        links=links,
        start_time=int(started_at * 1e9),
    )
    return SpanHandle(span, _traceparent(span.get_span_context()), activates=activates)


def _passing(surroundings: Context) -> SpanHandle | None:
    """A handle on the trace that passes through a process which adds nothing to it."""
    found = trace.get_current_span(surroundings).get_span_context()
    if not found.is_valid:
        return None
    through = NonRecordingSpan(found)
    return SpanHandle(through, _traceparent(found), described=False, ends=False)


def _adopted(span: Span, attributes: dict[str, Any], links: list[Link]) -> SpanHandle:
    _describe(span, attributes, links)
    traceparent = _traceparent(span.get_span_context())
    return SpanHandle(span, traceparent, ends=False, activates=False, adopted=True)


def _describe(span: Span, attributes: dict[str, Any], links: list[Link]) -> None:
    """Say on another instrumentation's span what ours would have said."""
    span.set_attributes(attributes)
    parent: SpanContext | None = getattr(span, "parent", None)
    for link in links:
        target = link.context
        if parent is not None and link.attributes == _CREATION:
            target = parent  # what its own instrumentation took for it is nearer than ours
        span.add_link(target, link.attributes)


_CREATION: Final = {"jobmon.link.type": "creation"}


def _is_foreign_consumer(span: Span) -> bool:
    scope = getattr(span, "instrumentation_scope", None)
    return (
        span.is_recording()
        and getattr(span, "kind", None) is SpanKind.CONSUMER
        and getattr(scope, "name", SCOPE) != SCOPE
    )


def _is_instrumented(engine: str) -> bool:
    module, name = _INSTRUMENTORS.get(engine, ("", ""))
    instrumentor = getattr(sys.modules.get(module), name, None)
    if instrumentor is None:
        return False
    return bool(getattr(instrumentor(), "is_instrumented_by_opentelemetry", False))


def _links(found: Mapping[str, str]) -> list[Link]:
    links: list[Link] = []
    seen: set[str] = set()
    for kind, traceparent in found.items():
        target = _parsed(traceparent) if traceparent not in seen else None
        if target is not None:
            seen.add(traceparent)
            links.append(Link(target, {"jobmon.link.type": kind}))
    return links


def _parsed(traceparent: str) -> SpanContext | None:
    parts = traceparent.split("-")
    if len(parts) != 4 or [len(part) for part in parts] != [2, 32, 16, 2] or parts[0] == "ff":
        return None
    try:
        numbers = [int(part, 16) for part in parts[1:]]
    except ValueError:
        return None
    found = SpanContext(numbers[0], numbers[1], True, trace.TraceFlags(numbers[2]))
    return found if found.is_valid else None


def _traceparent(found: SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


@functools.cache
def _environment() -> Context:
    """The trace, its state and the baggage that whoever started this process handed over."""
    carrier = {name.lower(): os.environ.get(name, "") for name in _VARIABLES}
    return propagate.extract({name: value for name, value in carrier.items() if value})


_VARIABLES: Final = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")


def _get_tracer() -> trace.Tracer:
    global _tracer
    provider = sdk() or trace.get_tracer_provider()
    if _tracer is None or _tracer[0] is not provider:
        import jobmon

        version = str(jobmon.__version__)
        _tracer = provider, provider.get_tracer(SCOPE, version, _SCHEMA_URL)
    return _tracer[1]
