"""Beside another instrumentation of Celery: whose spans there are, and what they say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery, signals
from celery.exceptions import Ignore, Retry
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobmon.instrument import celery, install, otel, record, spans
from jobmon.instrument.context import HEADER, JobContext
from jobmon.settings import load

CREATION = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
COMMAND = "00-" + "a" * 32 + "-" + "c" * 16 + "-01"

app: Any = Celery("adoption", broker="memory://", set_as_current=False)


@app.task(name="work", throws=(KeyError,))
def work() -> None:
    pass


@pytest.fixture(params=["first", "last", "first, linking"])
def exporter(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InMemorySpanExporter]:
    """Both instrumentations in this process, theirs before ours or after it."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(spans, "_otel", otel)
    install.configure(load(environ={}))
    theirs = CeleryInstrumentor()
    steps = [lambda: theirs.instrument(use_span_links="linking" in request.param), celery.install]
    for step in steps if "first" in request.param else reversed(steps):
        step()
    yield memory
    celery.uninstall()
    theirs.uninstrument()
    assert not trace.get_current_span().get_span_context().is_valid, "a span stayed current"
    provider.shutdown()


def run(state: str, retval: object = None, *, attempt: int = 1) -> None:
    """One job, as ``celery.app.trace`` tells of it."""
    job_id = str(uuid.uuid4())
    own = JobContext(
        job_id, job_id, "data:process", attempt=attempt, creation=CREATION, command_span=COMMAND
    )
    work.push_request(
        id=job_id, headers={}, hostname="w@host", traceparent=CREATION, **{HEADER: own.encode()}
    )
    told: dict[str, Any] = {"sender": work, "task_id": job_id, "task": work}
    signals.task_prerun.send(**told, args=(), kwargs={})
    if state == "SUCCESS":
        signals.task_success.send(sender=work, result=retval)
    elif state == "FAILURE":
        assert isinstance(retval, Exception)
        try:
            raise retval
        except Exception as error:
            einfo = ExceptionInfo()
            einfo.exception = error  # as Celery does
            signals.task_failure.send(
                sender=work, task_id=job_id, exception=error, args=(), kwargs={}, einfo=einfo
            )
    elif state == "RETRY":
        signals.task_retry.send(sender=work, request=work.request, reason=retval, einfo=None)
    signals.task_postrun.send(**told, args=(), kwargs={}, retval=retval, state=state)
    work.pop_request()


def links(span: ReadableSpan) -> list[tuple[object, str]]:
    found = [
        ((link.attributes or {}).get("jobmon.link.type"), f"{link.context.span_id:016x}")
        for link in span.links
    ]
    return [(kind, target) for kind, target in found if kind]


@pytest.mark.parametrize(
    ("state", "retval", "said"),
    [
        ("SUCCESS", 1, {"outcome": "completed"}),
        ("FAILURE", ValueError("no"), {"outcome": "failed"}),
        ("FAILURE", KeyError("no"), {"outcome": "failed", "expected": True}),
        ("RETRY", Retry(exc=OSError()), {"outcome": "retried", "retry_reason": "OSError"}),
    ],
)
def test_their_span_says_what_ours_would(
    exporter: InMemorySpanExporter, state: str, retval: object, said: dict[str, object]
) -> None:
    for number in (1, 2):  # the first one finds out
        run(state, retval)
        span = exporter.get_finished_spans()[-1]
        assert len(exporter.get_finished_spans()) == number
        assert span.name == "run/work"
        attributes = dict(span.attributes or {})
        for name, value in said.items():
            assert attributes[f"jobmon.job.{name}"] == value
        assert attributes["jobmon.command.name"] == "data:process"
        assert links(span) == [("creation", "b" * 16), ("command", "c" * 16)]
        failed = said == {"outcome": "failed"}
        assert (span.status.status_code is trace.StatusCode.ERROR) is failed
        assert len(span.events) == failed


def test_a_job_that_no_signal_ends_leaves_nothing_current(exporter: InMemorySpanExporter) -> None:
    run("IGNORED", Ignore())
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["jobmon.command.name"] == "data:process"


def test_the_record_names_their_span(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    complete = record.complete

    def kept(text: str, *rest: Any) -> bytes:
        written.append(text)
        return complete(text, *rest)

    monkeypatch.setattr(record, "complete", kept)
    run("SUCCESS")
    (span,) = exporter.get_finished_spans()
    context = span.get_span_context()
    assert f'"trace_id":"{context.trace_id:032x}"' in written[-1]
    assert f'"span_id":"{context.span_id:016x}"' in written[-1]


def test_ours_beside_theirs_never_stays_current(exporter: InMemorySpanExporter) -> None:
    spans.configure(load({"otel.job_spans": "always"}, environ={}))
    for _ in range(2):
        run("SUCCESS")
    names = sorted(span.name for span in exporter.get_finished_spans())
    assert names == ["process work", "process work", "run/work", "run/work"]
    for span in exporter.get_finished_spans():
        if span.name == "process work":
            assert span.parent is not None
            assert f"{span.parent.span_id:016x}" == "b" * 16


def test_theirs_alone_is_left_as_it_is(exporter: InMemorySpanExporter) -> None:
    spans.configure(load({"otel.job_spans": "never"}, environ={}))
    run("SUCCESS")
    (span,) = exporter.get_finished_spans()
    assert not [name for name in span.attributes or {} if name.startswith("jobmon.")]
    assert not links(span)
