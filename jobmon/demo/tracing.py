"""Spans of the demo's processes, as a user sets them up: only where OTEL_* names a receiver."""

from __future__ import annotations

import os


def set_up() -> None:
    """Export spans over OTLP/HTTP if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set (extra ``otel``)."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
