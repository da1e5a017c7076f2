"""Our own calls make no spans; those around them do."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry import context
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobmon.instrument.quiet import quiet
from tests.conftest import RedisServer


def test_an_instrumented_client_makes_no_span_inside(store: RedisServer) -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    instrumentor = RedisInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with store.client() as client:
            before = context.get_current()
            with quiet():
                client.get("ours")
                client.pipeline().get("ours").execute()
            assert context.get_current() == before
            client.get("theirs")
    finally:
        instrumentor.uninstrument()
        provider.shutdown()
    (span,) = memory.get_finished_spans()
    assert span.name == "GET"


def test_where_nobody_traces_nothing_is_imported() -> None:
    program = """
import sys
from jobmon.instrument.quiet import quiet
with quiet():
    pass
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
