"""What takes events: one small protocol, one file for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from jobmon.errors import JobmonError

if TYPE_CHECKING:
    from jobmon.anomaly import PerformanceAnomalyDetected


class NotDeliveredError(JobmonError):
    """A sink did not take an event. The message holds no address and nothing that was answered."""

    def __init__(
        self, reason: str, *, is_final: bool = False, retry_after_seconds: float = 0.0
    ) -> None:
        """Make one.

        Args:
            reason: In a few words.
            is_final: Trying again is of no use.
            retry_after_seconds: How long to wait at least.
        """
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after_seconds = retry_after_seconds


class Sink(Protocol):
    """Where events go. Called from one thread at a time."""

    @property
    def name(self) -> str:
        """In the table of deliveries; the same after a restart."""
        ...

    def wants(self, event: PerformanceAnomalyDetected) -> bool:
        """Whether the event is for it."""
        ...

    def deliver(self, event: PerformanceAnomalyDetected, body: str) -> None:
        """Hand it over, within a bounded time.

        Args:
            event: It.
            body: The same as JSON, as it was written down first.

        Raises:
            NotDeliveredError: It was not taken, or nobody knows.
            redis.RedisError: The same, of the store.
        """
        ...
