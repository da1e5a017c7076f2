"""What every broker is asked, and which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobmon.settings import Settings
    from jobmon.store.queues import QueueDepth

SECONDS: Final = 2.0
"""Longest wait to connect, and for each answer."""


class Broker(Protocol):
    """Where the queues of one engine are. Asked by one thread at a time."""

    engine: str

    def read(self, names: Sequence[str]) -> list[QueueDepth] | None:
        """How many jobs its queues hold.

        Args:
            names: Queues that are known of, best known first.

        Returns:
            None: The engine is not in use.

        Raises:
            Exception: It cannot be reached, or refuses: whatever the library raises.
        """
        ...

    def close(self) -> None:
        """End the connections; the next call makes them anew."""
        ...


def brokers(settings: Settings, store: Any) -> list[Broker]:
    """Those that the settings name; RQ's may be the store's server. Nothing is asked yet."""
    from jobmon.queues.celery_redis import CeleryRedis
    from jobmon.queues.rabbitmq import RabbitMQ
    from jobmon.queues.rabbitmq_management import Management
    from jobmon.queues.rq import Rq

    celery = settings.celery
    found: list[Broker] = [Rq(settings.rq.redis_url, store)]
    if celery.broker_url is not None:
        if "amqp" not in celery.broker_url.partition(":")[0]:
            found.append(CeleryRedis(celery))
        elif celery.management_url is not None:
            found.append(Management(celery.broker_url, celery.management_url))
        else:
            found.append(RabbitMQ(celery))
    return found
