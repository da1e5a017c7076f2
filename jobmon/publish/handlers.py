"""Handlers of this process: whoever called `jobmon.on_anomaly` or `jobmon.on_anomaly_resolved`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon import anomaly
from jobmon.inert import inert
from jobmon.publish.bounded import Call

if TYPE_CHECKING:
    from jobmon.anomaly import Handler, PerformanceAnomalyDetected

SECONDS: Final = 10.0
"""Longest wait for one handler."""

_log: Final = logging.getLogger("jobmon.publish")


class HandlerSink:
    """Calls each handler once with each event, one after another, in a thread of its own.

    One that raises is logged and not called again for that event. One that does not return holds
    the others up once: it is waited for no longer than some seconds, and until it has returned, it
    is passed over. One that is ``async`` is cancelled instead.
    """

    name: str = "handlers"

    def __init__(self, seconds: float = SECONDS) -> None:
        """Make one.

        Args:
            seconds: Longest wait for one handler.
        """
        self._seconds = seconds
        self._hanging: dict[int, Call[None]] = {}

    def wants(self, event: PerformanceAnomalyDetected) -> bool:
        """Whether anybody in this process does."""
        return bool(anomaly.handlers(event.state))

    def deliver(self, event: PerformanceAnomalyDetected, body: str = "") -> None:  # noqa: ARG002
        """Call them."""
        for handler in anomaly.handlers(event.state):
            self._call(handler, event)

    def _call(self, handler: Handler, event: PerformanceAnomalyDetected) -> None:
        before = self._hanging.get(id(handler))
        if before is not None and not before.has_ended():
            _log.error("%s has not returned yet: not called with event %s", *_told(handler, event))
            return
        call = Call(lambda: _run(handler, event, self._seconds), "jobmon-handler")
        # What is async is cancelled first.
        if not call.has_ended(self._seconds + 1):
            self._hanging[id(handler)] = call
            _log.error("%s does not return with event %s", *_told(handler, event))
        elif call.error is not None:
            _log.error("%s failed with event %s", *_told(handler, event), exc_info=call.error)


def _run(handler: Handler, event: PerformanceAnomalyDetected, seconds: float) -> None:
    returned = handler(event)
    if inspect.iscoroutine(returned):
        waiting = cast("Coroutine[Any, Any, object]", returned)
        asyncio.run(asyncio.wait_for(waiting, seconds))


def _told(handler: Handler, event: PerformanceAnomalyDetected) -> tuple[str, str]:
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return inert(f"{getattr(handler, '__module__', '')}.{name}"), inert(event.id)
