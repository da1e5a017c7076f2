"""The competitors, and how each is switched on in a worker and in a producer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

ROW_VARIABLE: Final = "BENCHMARK_ROW"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run the same jobs."""

    engine: str
    name: str
    title: str
    jobmon: bool = False
    spans_per_job: int = 0
    """Spans exported per job; 0 without an SDK."""

    @property
    def key(self) -> str:
        """Unique over both engines."""
        return f"{self.engine}:{self.name}"


ROWS: Final = {
    row.key: row
    for row in (
        Row("celery", "bare", "bare"),
        Row("celery", "jobmon", "jobmon", jobmon=True),
        Row("celery", "jobmon-spans", "jobmon, spans exported", jobmon=True, spans_per_job=1),
        Row("celery", "events", "Celery's own events (`-E`)"),
        Row("celery", "otel", "opentelemetry-instrumentation-celery", spans_per_job=2),
        Row("rq", "bare", "bare"),
        Row("rq", "jobmon", "jobmon", jobmon=True),
        Row("rq", "jobmon-spans", "jobmon, spans exported", jobmon=True, spans_per_job=1),
    )
}


def this_row() -> Row:
    """The row that this process belongs to."""
    return ROWS[os.environ[ROW_VARIABLE]]


def instrument() -> None:
    """Switch on what the row watches with; before the engine is imported."""
    row = this_row()
    if row.jobmon:
        import jobmon

        jobmon.instrument()
    if row.spans_per_job:
        _export_spans()
    if row.name == "otel":
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        CeleryInstrumentor().instrument()


def _export_spans() -> None:
    """The same SDK and exporter for every row: it starts anew in each fork by itself."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
