"""Spans of commands and jobs: which, how related, and what becomes of them across processes."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from jobmon.instrument import commands, context, jobs, otel, span_attributes, spans
from jobmon.instrument.context import Explicit, Frame, JobContext
from jobmon.instrument.entries import EntryRun
from jobmon.instrument.jobs import Execution
from jobmon.model import Outcome
from jobmon.settings import Settings, load

ROOT = Path(__file__).parents[2]
RUN = "71c40000-0000-4000-8000-000000000000"
INCOMING = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
OTHER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"


def configured(**overrides: object) -> Settings:
    settings = load({key.replace("__", "."): v for key, v in overrides.items()}, environ={})
    spans.configure(settings)
    return settings


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """An SDK in this process, for one test."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(spans, "_otel", otel)
    configured()
    yield memory
    assert not trace.get_current_span().get_span_context().is_valid, "a span stayed current"
    provider.shutdown()


@pytest.fixture
def no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API alone, as in a process whose users do not trace."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(spans, "_otel", otel)
    monkeypatch.delenv("TRACEPARENT", raising=False)
    configured()


def command(name: str = "data:process") -> Any:
    handle = spans.start_command(name, kind="script", run_id=RUN, started_at=time.time())
    assert handle is not None
    return handle


def execution(**fields: Any) -> Execution:
    job = JobContext("j1", RUN, "data:process", **fields)
    return Execution(
        "celery", "j1", "app.work", job, queue="default", worker="w@host", function="app.work"
    )


def ended(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def text_of(found: trace.SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def traceparent(span: ReadableSpan) -> str:
    return text_of(span.get_span_context())


def linked(span: ReadableSpan) -> dict[str, str]:
    return {
        str((link.attributes or {})["jobmon.link.type"]): text_of(link.context)
        for link in span.links
    }


def test_a_command_span_says_what_ran_and_how_it_ended(exporter: InMemorySpanExporter) -> None:
    command().end(Outcome.COMPLETED, exit_code=0)
    span = ended(exporter)["command data:process"]
    assert span.kind is SpanKind.INTERNAL
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "jobmon.command.name": "data:process",
        "jobmon.command.kind": "script",
        "jobmon.command.run_id": RUN,
        "jobmon.command.outcome": "completed",
        "process.executable.name": os.path.basename(sys.executable),
        "process.pid": os.getpid(),
        "process.exit.code": 0,
    }
    assert span.status.status_code is StatusCode.UNSET


def test_an_entry_of_a_schedule_has_a_span_around_its_dispatch(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = load({"monitoring.commands_enabled": "0"}, environ={})
    for module in (commands, jobs):
        monkeypatch.setattr(module, "_settings", off)  # no run is recorded
    run = EntryRun("report", "beat", "0 4 * * *", 1000.0)
    run.send()
    own = jobs.publish_context("j1", "default")
    run.sent("j1")
    span = ended(exporter)["command report"]
    assert span.status.status_code is StatusCode.UNSET
    assert own.creation == traceparent(span)
    found = span.attributes or {}
    assert (found["faas.cron"], found["faas.trigger"]) == ("0 4 * * *", "timer")
    assert found["jobmon.command.kind"] == "beat"
    assert "jobmon.command.outcome" not in found
    late = EntryRun("late", "beat", "0 4 * * *", 1000.0)
    late.send()
    late.sent("", ConnectionError("no broker"))
    assert ended(exporter)["command late"].status.status_code is StatusCode.ERROR


def test_a_job_is_a_child_of_its_creation_and_linked_to_it_and_the_command(
    exporter: InMemorySpanExporter,
) -> None:
    own = command()
    frame = Frame(RUN, "data:process", span=own)
    own.activate()
    with otel._get_tracer().start_as_current_span("inner"):
        creation, command_span = spans.creation_context(frame)
    own.deactivate()
    now = time.time()
    running = execution(creation=creation, command_span=command_span, enqueued_at=now - 2, eta=0.0)
    job = spans.start_job(running)
    assert job is not None
    job.end(Outcome.COMPLETED)
    own.end(Outcome.COMPLETED, exit_code=0)
    found = ended(exporter)
    span, inner, top = found["process app.work"], found["inner"], found["command data:process"]
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is not None
    assert span.parent.span_id == inner.get_span_context().span_id
    assert linked(span) == {"creation": traceparent(inner), "command": traceparent(top)}
    attributes = dict(span.attributes or {})
    assert attributes.pop("jobmon.job.queue_time") == pytest.approx(2, abs=0.5)
    assert attributes == {
        "messaging.system": "celery",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": "j1",
        "code.function.name": "app.work",
        "jobmon.job.name": "app.work",
        "jobmon.job.attempt": 1,
        "jobmon.job.outcome": "completed",
        "jobmon.command.name": "data:process",
        "jobmon.command.run_id": RUN,
        "jobmon.worker.name": "w@host",
    }
    assert job.trace_id == f"{top.get_span_context().trace_id:032x}"


@pytest.mark.parametrize(
    ("relation", "fields", "new_trace"),
    [
        ("auto", {"trace_started_at": -10.0, "hop": 32}, False),
        ("auto", {"trace_started_at": -3601.0}, True),
        ("auto", {"hop": 33}, True),
        ("child", {"trace_started_at": -9000.0, "hop": 99}, False),
        ("link", {}, True),
    ],
)
def test_old_or_deep_jobs_get_a_trace_of_their_own_with_the_same_links(
    exporter: InMemorySpanExporter, relation: str, fields: dict[str, Any], new_trace: bool
) -> None:
    configured(otel__trace_relation=relation)
    if "trace_started_at" in fields:
        fields["trace_started_at"] += time.time()
    job = spans.start_job(execution(creation=INCOMING, command_span=OTHER, **fields))
    assert job is not None
    job.end(Outcome.COMPLETED)
    span = ended(exporter)["process app.work"]
    assert (span.parent is None) is new_trace
    assert (job.trace_id != "a" * 32) is new_trace
    assert linked(span) == {"creation": INCOMING, "command": OTHER}


@pytest.mark.parametrize(("age", "new_trace"), [(3500.0, False), (3700.0, True)])
def test_a_job_that_no_command_published_is_as_old_as_itself(
    exporter: InMemorySpanExporter, age: float, new_trace: bool
) -> None:
    job = spans.start_job(execution(creation=INCOMING, created_at=time.time() - age))
    assert job is not None
    job.end(Outcome.COMPLETED)
    (span,) = exporter.get_finished_spans()
    assert (span.parent is None) is new_trace


@pytest.mark.parametrize("hop", [4, 33])
def test_what_a_job_publishes_is_as_old_and_deep_as_its_trace(
    exporter: InMemorySpanExporter, hop: int
) -> None:
    began = time.time() - 60
    running = execution(creation=INCOMING, trace_started_at=began, hop=hop)
    jobs.begin(running)
    own = jobs.publish_context("j2", "default")
    jobs.close(running, Outcome.COMPLETED)
    if hop == 33:  # in a trace of its own, which began with it
        assert (own.hop, own.trace_started_at) == (1, running.started_at)
    else:
        assert (own.hop, own.trace_started_at) == (5, began)


def test_a_trace_is_as_young_as_its_thousand(exporter: InMemorySpanExporter) -> None:
    own = command()
    frame = Frame(RUN, "data:process", span=own, started_at=1.0)
    token = context.enter(frame)
    first, last = [jobs.publish_context(f"j{number}", "default") for number in range(1001)][999:]
    context.leave(frame, token)
    own.end(Outcome.COMPLETED, exit_code=0)
    assert first.trace_started_at == 1.0
    assert last.trace_started_at == pytest.approx(time.time(), abs=60)


def test_attempts_are_siblings_linked_by_retry_of(exporter: InMemorySpanExporter) -> None:
    first = spans.start_job(execution(creation=INCOMING))
    assert first is not None
    first.end(Outcome.RETRIED, ValueError("again"))
    second = spans.start_job(execution(creation=INCOMING, attempt=2, retry_of=first.traceparent))
    assert second is not None
    second.end(Outcome.COMPLETED)
    one, two = exporter.get_finished_spans()
    assert one.parent == two.parent
    assert linked(two) == {"creation": INCOMING, "retry_of": first.traceparent}
    assert one.status.status_code is StatusCode.UNSET
    assert (one.attributes or {})["jobmon.job.retry_reason"] == "ValueError"
    assert not one.events


@pytest.mark.parametrize(
    ("outcome", "error", "expected", "error_type"),
    [
        (Outcome.FAILED, ValueError("password=hunter2"), False, "ValueError"),
        (Outcome.FAILED, ValueError("declared"), True, None),
        (Outcome.TIMED_OUT, None, False, "TimeLimitExceeded"),
        (Outcome.LOST, None, False, "WorkerLost"),
        (Outcome.IGNORED, None, False, None),
        (Outcome.REJECTED, None, False, None),
    ],
)
def test_status_of_a_job(
    exporter: InMemorySpanExporter,
    outcome: Outcome,
    error: BaseException | None,
    expected: bool,
    error_type: str | None,
) -> None:
    job = spans.start_job(execution())
    assert job is not None
    job.end(outcome, error, expected=expected)
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes.get("error.type") == error_type
    assert attributes["jobmon.job.outcome"] == outcome
    assert attributes.get("jobmon.job.expected", False) is expected
    failed = error_type is not None
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert "hunter2" not in span.to_json()
    if failed and error is not None:
        assert span.status.description == "password=[redacted]"
        (event,) = span.events
        assert set(event.attributes or {}) == {
            "exception.type", "exception.message", "exception.stacktrace",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "said", "exit_code", "error_type"),
    [
        (ValueError("bad"), "", 1, "ValueError"),
        (SystemExit(3), "", 3, "3"),
        (None, "SIGKILL", 137, "SIGKILL"),
        (None, "", 2, "2"),
    ],
)
def test_error_type_of_a_command(
    exporter: InMemorySpanExporter,
    error: BaseException | None,
    said: str,
    exit_code: int,
    error_type: str,
) -> None:
    handle = command()
    handle.error_type = said
    handle.end(Outcome.FAILED, error, exit_code=exit_code)
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert (attributes["error.type"], attributes["process.exit.code"]) == (error_type, exit_code)
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("opted_in", "events", "records"),
    [("", 1, 0), ("database", 1, 0), ("logs", 0, 1), ("http, logs/dup", 1, 1)],
)
def test_exceptions_are_told_where_the_environment_wants_them(
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    opted_in: str,
    events: int,
    records: int,
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", opted_in)
    configured()
    traces: list[int] = []
    handler = logging.Handler()
    handler.emit = lambda _: traces.append(trace.get_current_span().get_span_context().trace_id)
    logger = logging.getLogger("jobmon.exceptions")
    logger.addHandler(handler)
    command().end(Outcome.FAILED, ValueError("token=abc"), exit_code=1)
    logger.removeHandler(handler)
    (span,) = exporter.get_finished_spans()
    assert len(span.events) == events
    assert len(caplog.records) == records
    assert traces == [span.get_span_context().trace_id] * records
    for record in caplog.records:
        assert record.__dict__["exception.type"] == "ValueError"
        assert record.__dict__["exception.message"] == "token=[redacted]"
        assert "abc" not in record.__dict__["exception.stacktrace"] + record.getMessage()
    monkeypatch.delenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN")
    configured()


@pytest.mark.parametrize(
    ("address", "port", "shown"),
    [
        ("redis.internal", 6379, {"server.address": "redis.internal", "server.port": 6379}),
        ("/run/redis.sock", None, {"server.address": "/run/redis.sock"}),
        ("", 6379, {}),
        (None, None, {}),
    ],
)
def test_a_job_span_names_the_broker(
    exporter: InMemorySpanExporter, address: Any, port: Any, shown: dict[str, Any]
) -> None:
    span_attributes.describe_broker("celery", "redis", address, port)
    try:
        job = spans.start_job(execution())
    finally:
        span_attributes._brokers.clear()
    assert job is not None
    job.end(Outcome.COMPLETED)
    (span,) = exporter.get_finished_spans()
    found = {
        k: v for k, v in (span.attributes or {}).items() if k.startswith(("server", "jobmon.b"))
    }
    assert found == {"jobmon.broker": "redis", **shown}


def test_a_span_that_is_not_sampled_has_no_id_that_others_could_look_up(
    exporter: InMemorySpanExporter,
) -> None:
    unsampled = INCOMING[:-1] + "0"
    job = spans.start_job(execution(creation=unsampled))
    assert job is not None
    assert (job.trace_id, job.span_id) == ("a" * 32, "")
    job.end(Outcome.COMPLETED)
    assert not exporter.get_finished_spans()


def test_messages_of_exceptions_can_be_kept_out(exporter: InMemorySpanExporter) -> None:
    configured(otel__record_exception_message=False)
    command().end(Outcome.FAILED, ValueError("customer 7"), exit_code=1)
    (span,) = exporter.get_finished_spans()
    assert "customer" not in span.to_json()
    assert (span.attributes or {})["error.type"] == "ValueError"


def test_each_thousand_jobs_of_a_command_have_a_root_of_their_own(
    exporter: InMemorySpanExporter,
) -> None:
    own = command()
    own.activate()
    frame = Frame(RUN, "data:process", span=own)
    published = [spans.creation_context(frame) for _ in range(3500)]
    own.deactivate()
    own.end(Outcome.COMPLETED, exit_code=0)
    assert {command_span for _, command_span in published} == {own.traceparent}
    creations = [creation for creation, _ in published]
    assert creations[:1000] == [own.traceparent] * 1000
    roots = [span for span in exporter.get_finished_spans() if span.name == "fanout data:process"]
    assert creations[1000::1000] == [traceparent(root) for root in roots]
    assert [creations.count(traceparent(root)) for root in roots] == [1000, 1000, 500]
    for root in roots:
        assert root.parent is None
        assert linked(root) == {"command": own.traceparent}


def test_a_thread_without_context_belongs_to_its_frame(exporter: InMemorySpanExporter) -> None:
    own = command()
    frame = Frame(RUN, "data:process", span=own)
    found: list[tuple[str, str]] = []
    thread = threading.Thread(target=lambda: found.append(spans.creation_context(frame)))
    thread.start()
    thread.join()
    own.end(Outcome.COMPLETED, exit_code=0)
    assert found == [(own.traceparent, own.traceparent)]


def test_a_job_for_another_run_has_no_link_to_this_ones_command(
    exporter: InMemorySpanExporter,
) -> None:
    own = command()
    frame = Frame(RUN, "data:process", span=own)
    token = context.explicit.set(Explicit(process_id="other", command="x"))
    assert spans.creation_context(frame) == (own.traceparent, "")
    context.explicit.reset(token)
    own.end(Outcome.COMPLETED, exit_code=0)


def test_a_span_inside_of_another_is_its_child(exporter: InMemorySpanExporter) -> None:
    with otel._get_tracer().start_as_current_span("request") as request:
        outer = command()
        outer.activate()
        inner = command("inner")
        inner.end(Outcome.COMPLETED, exit_code=0)
        outer.deactivate()
        outer.end(Outcome.COMPLETED, exit_code=0)
    found = ended(exporter)
    inner_parent = found["command inner"].parent
    outer_parent = found["command data:process"].parent
    assert inner_parent is not None
    assert outer_parent is not None
    assert inner_parent.span_id == int(outer.span_id, 16)
    assert outer_parent.span_id == request.get_span_context().span_id


def test_the_environments_trace_is_continued(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEPARENT", INCOMING)
    monkeypatch.setenv("BAGGAGE", "tenant=7")
    configured()
    otel._environment.cache_clear()
    inherited = Frame(RUN, "data:process")
    assert spans.creation_context(inherited) == (INCOMING, INCOMING)
    assert spans.creation_context(None) == (INCOMING, "")
    own = command()
    own.end(Outcome.COMPLETED, exit_code=0)
    otel._environment.cache_clear()
    assert own.trace_id == "a" * 32


def test_another_instrumentations_span_is_described_not_doubled(
    exporter: InMemorySpanExporter,
) -> None:
    theirs = trace.get_tracer("opentelemetry.instrumentation.celery")
    with theirs.start_as_current_span("run/app.work", kind=SpanKind.CONSUMER):
        job = spans.start_job(execution(command_span=OTHER))
        assert job is not None
        job.activate()
        job.deactivate()
        job.end(Outcome.FAILED, ValueError("bad"))
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["jobmon.command.run_id"] == RUN
    assert attributes["jobmon.job.outcome"] == "failed"
    assert linked(span) == {"command": OTHER}
    assert job.trace_id == f"{span.get_span_context().trace_id:032x}"


def test_an_instrumentation_whose_hook_comes_later_is_described_at_the_end(
    exporter: InMemorySpanExporter,
) -> None:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    theirs = trace.get_tracer("opentelemetry.instrumentation.celery")
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument()
    try:
        job = spans.start_job(execution(command_span=OTHER))
        assert job is not None
        assert job.traceparent == job.trace_id == ""
        with theirs.start_as_current_span("run/app.work", kind=SpanKind.CONSUMER):
            job.activate()
            job.deactivate()
            job.end(Outcome.COMPLETED)
    finally:
        instrumentor.uninstrument()
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["jobmon.job.outcome"] == "completed"
    assert linked(span) == {"command": OTHER}


def test_ending_in_another_context_restores_and_logs_nothing(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def elsewhere() -> None:
        handle = command()
        handle.activate()

        async def end() -> None:
            handle.deactivate()
            assert not trace.get_current_span().get_span_context().is_valid
            handle.end(Outcome.COMPLETED, exit_code=0)

        await asyncio.create_task(end())
        other = command("other")
        contextvars.copy_context().run(other.activate)
        other.deactivate()
        other.end(Outcome.COMPLETED, exit_code=0)

    asyncio.run(elsewhere())
    assert len(exporter.get_finished_spans()) == 2
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_a_fork_neither_ends_nor_loses_the_parents_span(exporter: InMemorySpanExporter) -> None:
    job = spans.start_job(execution())
    assert job is not None
    child = os.fork()
    if not child:
        job.activate()
        inside = trace.get_current_span().get_span_context().is_valid
        job.deactivate()
        job.end(Outcome.FAILED, ValueError("in the child"))
        os._exit(0 if inside and not exporter.get_finished_spans() else 1)
    assert os.waitpid(child, 0)[1] == 0
    job.error_type = "ValueError"
    job.end(Outcome.FAILED)
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ValueError"


def test_a_span_held_elsewhere_is_current_but_never_ended(exporter: InMemorySpanExporter) -> None:
    held = spans.held_elsewhere(INCOMING)
    assert held is not None
    held.activate()
    assert spans.creation_context(None)[0] == INCOMING
    held.deactivate()
    held.end(Outcome.COMPLETED)
    assert (held.trace_id, held.span_id) == ("a" * 32, "b" * 16)
    assert not exporter.get_finished_spans()
    assert spans.held_elsewhere("") is None


@pytest.mark.usefixtures("no_sdk")
def test_without_an_sdk_there_is_nothing_but_what_passes_through() -> None:
    assert spans.start_command("x", kind="script", run_id=RUN, started_at=1.0) is None
    assert spans.start_job(execution()) is None
    assert spans.creation_context(Frame(RUN, "x")) == ("", "")
    passing = spans.start_job(execution(creation=INCOMING, trace_started_at=1.0))
    assert passing is not None
    assert (passing.traceparent, passing.trace_id, passing.span_id) == (INCOMING, "a" * 32, "")
    passing.activate()
    assert spans.creation_context(None) == (INCOMING, "")
    passing.deactivate()
    passing.end(Outcome.COMPLETED)
    carrier: dict[str, Any] = {}
    spans.inject(carrier, "")
    assert carrier == {}
    assert spans.flush_spans(1)


@pytest.mark.parametrize("damaged", ["", "x" * 55, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_damaged_context_is_no_context(exporter: InMemorySpanExporter, damaged: str) -> None:
    job = spans.start_job(execution(creation=damaged, command_span=damaged, retry_of=damaged))
    assert job is not None
    job.end(Outcome.COMPLETED)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert not span.links


def test_switched_off_there_are_no_spans(exporter: InMemorySpanExporter) -> None:
    configured(otel__enabled=False)
    assert spans.start_command("x", kind="script", run_id=RUN, started_at=1.0) is None
    assert spans.start_job(execution(creation=INCOMING)) is None
    assert spans.creation_context(None) == ("", "")
    assert spans.held_elsewhere(INCOMING) is None


def test_w3c_headers_go_beside_ours(exporter: InMemorySpanExporter) -> None:
    own = command()
    own.activate()
    carrier: dict[str, Any] = {"jobmon": "…"}
    spans.inject(carrier, own.traceparent)
    own.deactivate()
    own.end(Outcome.COMPLETED, exit_code=0)
    assert carrier == {"jobmon": "…", "traceparent": own.traceparent}


def test_a_process_that_does_not_trace_never_imports_the_api() -> None:
    program = """
import sys
from jobmon.settings import load
from jobmon.instrument import spans
from jobmon.instrument.context import Frame
spans.configure(load(environ={}))
assert spans.start_command("x", kind="script", run_id="r", started_at=1.0) is None
assert spans.creation_context(Frame("r", "x")) == ("", "")
assert spans.flush_spans(1)
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
spans.prepare()
assert "opentelemetry.trace" in sys.modules and "opentelemetry.sdk" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=60)


def test_a_dead_collector_costs_its_deadline_once_for_all_children() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        program = f"""
import os, time
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from jobmon.settings import load
from jobmon.instrument import spans
from jobmon.model import Outcome
provider = TracerProvider(shutdown_on_exit=False)
exporter = OTLPSpanExporter("http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
spans.configure(load(environ={{}}))
spans.prepare()
for _ in range(3):
    if not os.fork():
        began = time.monotonic()
        handle = spans.start_command("x", kind="script", run_id="r", started_at=time.time())
        handle.end(Outcome.COMPLETED, exit_code=0)
        done = spans.flush_spans(0.3)
        print(done, time.monotonic() - began, flush=True)
        os._exit(0)
    os.wait()
os._exit(0)
"""
        ran = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            cwd=ROOT,
            timeout=60,
            capture_output=True,
            text=True,
        )
    tries = [line.split() for line in ran.stdout.splitlines()]
    assert [done for done, _ in tries] == ["False"] * 3
    first, *others = [float(seconds) for _, seconds in tries]
    assert 0.3 <= first < 3  # the SDK alone would take 10
    assert max(others) < 0.3
