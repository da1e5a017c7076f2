"""Spans closed for processes that are gone: under which ids, and when there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from jobmon.instrument import install, jobs, lost_spans, otel, recorder, spans
from jobmon.instrument.context import JobContext
from jobmon.instrument.jobs import Execution
from jobmon.model import Outcome, Transition
from jobmon.settings import load

RUN = "71c40000-0000-4000-8000-000000000000"
CREATION = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """An SDK whose finished spans are its ``memory``; what is recorded is heard at once."""
    memory = InMemorySpanExporter()
    made: Any = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(memory))
    made.memory = memory
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made)
    monkeypatch.setattr(spans, "_otel", otel)
    monkeypatch.setattr(recorder, "record", lost_spans.heard)
    configure()
    yield made
    lost_spans._open.clear()
    lost_spans._doomed.clear()
    made.shutdown()


def configure(**overrides: object) -> None:
    install.configure(load({f"otel.{key}": value for key, value in overrides.items()}, environ={}))


def execution(**fields: Any) -> Execution:
    own = JobContext("j1", RUN, "data:process", creation=CREATION, **fields)
    return Execution("celery", "j1", "app.work", own, queue="default", worker="w@host")


def begun(**fields: Any) -> Execution:
    """A job as its child began it, which is then killed."""
    job = execution(**fields)
    jobs.start(job, measure_memory=False)
    jobs.abandon(job)
    return job


def finished(provider: Any) -> list[ReadableSpan]:
    return list(provider.memory.get_finished_spans())


def closed(provider: Any, **fields: Any) -> list[ReadableSpan]:
    lost_spans.close(execution(**fields), Outcome.LOST, "signal 9")
    return finished(provider)


@pytest.mark.parametrize("relation", ["child", "link"])
def test_it_is_the_span_that_the_child_had_opened(provider: TracerProvider, relation: str) -> None:
    configure(trace_relation=relation)
    job = begun()
    assert job.span is not None
    (span,) = closed(provider)
    own = span.get_span_context()
    assert (f"{own.trace_id:032x}", f"{own.span_id:016x}") == (job.span.trace_id, job.span.span_id)
    assert (span.parent is not None) is (relation == "child")
    assert [link.context.span_id for link in span.links] == [int("b" * 16, 16)]
    assert span.start_time == pytest.approx(job.started_at * 1e9, abs=2000)
    attributes = span.attributes or {}
    assert attributes["jobmon.synthetic"] is True
    assert attributes["error.type"] == "WorkerLost"
    assert span.status.description == "signal 9"
    assert len(closed(provider)) == 1, "once"


def test_the_record_of_the_loss_names_it(provider: TracerProvider) -> None:
    job = begun()
    again = execution()
    lost_spans.name(again)
    assert again.span is not None
    assert job.span is not None
    assert (again.span.trace_id, again.span.span_id) == (job.span.trace_id, job.span.span_id)
    assert not finished(provider)


def test_a_job_that_ended_itself_has_its_own(provider: TracerProvider) -> None:
    job = execution()
    jobs.start(job, measure_memory=False)
    jobs.finish(job, Outcome.COMPLETED)
    (span,) = closed(provider)
    assert "jobmon.synthetic" not in (span.attributes or {})


def test_another_attempt_or_run_is_another_job(provider: TracerProvider) -> None:
    begun()
    assert not closed(provider, attempt=2)


def test_none_where_it_was_not_sampled(provider: TracerProvider) -> None:
    provider.sampler = ALWAYS_OFF
    begun()
    assert not closed(provider)


def test_none_where_the_settings_say_so(provider: TracerProvider) -> None:
    configure(close_lost_spans=False)
    begun()
    assert not closed(provider)
    assert not lost_spans._open


def test_none_where_another_instrumentation_makes_them(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun()
    monkeypatch.setattr(otel, "_is_instrumented", lambda _: True)
    assert not closed(provider)


def test_none_in_a_fork(provider: TracerProvider) -> None:
    begun()
    child = os.fork()
    if not child:
        os._exit(len(closed(provider)))
    assert os.waitpid(child, 0)[1] == 0


def test_without_an_sdk_nothing_is_kept(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    begun()
    assert not lost_spans._open


def test_what_is_kept_is_bounded(provider: TracerProvider) -> None:
    for number in range(1100):
        job = execution()
        job.job_id = f"j{number}"
        jobs.begin(job)
        jobs.abandon(job)
    assert len(lost_spans._open) == 1000
    assert all(isinstance(body, bytes) for body in lost_spans._open.values())


def test_what_a_stopped_worker_left_open_waits_for_its_exit(provider: TracerProvider) -> None:
    job = begun()
    lost_spans.close_at_exit(execution(), Outcome.LOST, "stopped")
    assert not finished(provider)
    lost_spans.close_at_exit(execution(attempt=2), Outcome.LOST, "never began")
    lost_spans._close_all()
    (span,) = finished(provider)
    assert job.span is not None
    assert f"{span.get_span_context().span_id:016x}" == job.span.span_id
    ended = begun()
    lost_spans.close_at_exit(execution(), Outcome.LOST, "stopped")
    jobs.finish(ended, Outcome.COMPLETED)
    lost_spans._close_all()
    assert len([s for s in finished(provider) if (s.attributes or {}).get("jobmon.synthetic")]) == 1


def test_other_transitions_are_let_pass() -> None:
    pending = Transition._make(["x"] * len(Transition._fields))._replace(
        outcome="", status="pending"
    )
    lost_spans.heard(pending)
    assert not lost_spans._open
