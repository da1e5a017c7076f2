"""The Redis stream, from which any process can read what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobmon.anomaly import PerformanceAnomalyDetected
    from jobmon.store.events import Events


class StreamSink:
    """The stream and the channel beside it. Takes every event, each once."""

    name: str = "stream"

    def __init__(self, events: Events) -> None:
        self._events = events

    def wants(self, event: PerformanceAnomalyDetected) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def deliver(self, event: PerformanceAnomalyDetected, body: str) -> None:
        """Add it, unless an earlier attempt has.

        Raises:
            redis.RedisError: It may be there all the same.
        """
        self._events.add(event.id, body)
