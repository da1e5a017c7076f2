"""jobmon: every job of your Celery and RQ workers under the command that spawned it.

Owns the names that users import; importing it imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobmon.anomaly import PerformanceAnomalyDetected, on_anomaly, on_anomaly_resolved
    from jobmon.instrument.commands import Run, command
    from jobmon.instrument.install import instrument, uninstrument
    from jobmon.instrument.redaction import register as redact
    from jobmon.instrument.tracking import TrackableJob, track
    from jobmon.publish.listener import listen

    __version__: str

__all__ = [
    "PerformanceAnomalyDetected",
    "Run",
    "TrackableJob",
    "__version__",
    "command",
    "instrument",
    "listen",
    "on_anomaly",
    "on_anomaly_resolved",
    "redact",
    "track",
    "uninstrument",
]

_HOME = {
    "PerformanceAnomalyDetected": ("jobmon.anomaly", "PerformanceAnomalyDetected"),
    "Run": ("jobmon.instrument.commands", "Run"),
    "TrackableJob": ("jobmon.instrument.tracking", "TrackableJob"),
    "command": ("jobmon.instrument.commands", "command"),
    "listen": ("jobmon.publish.listener", "listen"),
    "on_anomaly": ("jobmon.anomaly", "on_anomaly"),
    "on_anomaly_resolved": ("jobmon.anomaly", "on_anomaly_resolved"),
    "redact": ("jobmon.instrument.redaction", "register"),
    "track": ("jobmon.instrument.tracking", "track"),
    "uninstrument": ("jobmon.instrument.install", "uninstrument"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "instrument":
        return import_module("jobmon.instrument")
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    found = getattr(import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jobmon")
    except PackageNotFoundError:  # run from a checkout
        return "0+unknown"
