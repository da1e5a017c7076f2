"""An OpenTelemetry SDK for a program of ours, set up only where ``OTEL_*`` asks for one."""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

_ASKED_BY: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_CONFIG_FILE",
)
_DEFAULTS: Final = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    # Seconds. With the SDK's own 10, a dead collector would hold every cron line for 8 to 11 s.
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
}
_WITHOUT: Final = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
"""What a program of ours has to export are spans."""
_OTLP: Final = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def set_up() -> str:
    """Set up an SDK if the environment asks for one and nobody has.

    Changes variables of this process: give children a copy from before.

    Returns:
        What is in the way, as a sentence for people; empty where all is as asked.
    """
    asked = next((name for name in _ASKED_BY if os.environ.get(name)), "")
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not asked or off or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return ""
    from opentelemetry import trace

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return ""
    os.environ.update(_WITHOUT)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        # A distribution of OpenTelemetry, the users' own or the public one, knows best.
        for configurator in entry_points(group="opentelemetry_configurator"):
            configurator.load()().configure()
            return ""
        return _configure(trace)
    except ImportError as error:
        return f"{asked} is set, but {error.name} is missing: install jobmon with the extra 'otel'"


def _configure(trace: Any) -> str:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    for name in os.environ["OTEL_TRACES_EXPORTER"].split(","):
        exporter = _exporter(name.strip())
        if exporter is None:
            return f"OTEL_TRACES_EXPORTER names {name.strip()!r}, which is not installed"
        provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    trace.set_tracer_provider(provider)
    return ""


def _exporter(name: str) -> EntryPoint | None:
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        name = _OTLP.get(protocol or os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"], name)
    return next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)


def forget_at_exit() -> None:
    """Drop the SDK's own last flush, for a program that has made one with a deadline."""
    import atexit

    api = sys.modules.get("opentelemetry.trace")
    shutdown = getattr(api.get_tracer_provider(), "shutdown", None) if api is not None else None
    if shutdown is not None:
        atexit.unregister(shutdown)
