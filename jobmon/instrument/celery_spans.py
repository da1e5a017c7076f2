"""What the spans of Celery's jobs say besides, and how those of another instrumentation are told.

That instrumentation ends its span in ``task_postrun``, perhaps before our handler of it runs. So
where it is live, three more signals are used, which come before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobmon.instrument import span_attributes
from jobmon.instrument.celery_job import ENGINE, module

STATE_OF: Final = {"task_success": "SUCCESS", "task_failure": "FAILURE", "task_retry": "RETRY"}
"""A task's state, by the signal that tells of it before ``task_postrun`` does."""

_DISPATCH_UID: Final = "jobmon adopted"
_SOCKET: Final = "socket://"
_functions: Final[dict[str, str]] = {}


def function_of(task: Any) -> str:
    """``module.qualname`` of what a task runs."""
    name = _functions.get(task.name)
    if name is None:
        run = task.run
        parts = getattr(run, "__module__", ""), getattr(run, "__qualname__", "")
        name = _functions[task.name] = ".".join(parts) if all(parts) else ""
    return name


def describe_broker(app: Any) -> None:
    """Say which broker a worker takes its jobs from; connects to nothing."""
    connection = app.connection_for_read()
    transport = connection.transport
    kind = str(getattr(transport, "driver_type", "") or "")
    if len(connection.alt or ()) > 1:  # any of them, and another one later
        span_attributes.describe_broker(ENGINE, kind, "", 0)
        return
    address = str(connection.hostname or "")
    port = connection.port or getattr(transport, "default_port", None)
    if address.startswith(_SOCKET):
        address, port = address.removeprefix(_SOCKET), None
    span_attributes.describe_broker(ENGINE, kind, address, port)


def listen(receiver: Callable[..., None]) -> None:
    """Hear of the end of each job before ``task_postrun``; again, it changes nothing."""
    for signal in _signals():
        signal.connect(receiver, weak=False, dispatch_uid=_DISPATCH_UID)


def stop_listening() -> None:
    """Undo :func:`listen`."""
    for signal in _signals():
        signal.disconnect(dispatch_uid=_DISPATCH_UID)


def _signals() -> list[Any]:
    signals: Any = module("celery.signals")
    return [getattr(signals, name) for name in STATE_OF]
