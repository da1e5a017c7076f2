"""The stream of events of anomalies: written once each, whoever tries how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobmon.store import script
from jobmon.store.keys import Keys

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

LENGTH: Final = 10_000
"""Entries of the stream, about: Redis cuts in whole nodes."""
REMEMBERED_SECONDS: Final = 7 * 86_400
"""Longer than anybody tries."""
MOST_REMEMBERED: Final = 100_000
_SCRIPT: Final = script.read("events.lua")


class Events:
    """Its writing half. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        names = Keys(settings.redis.prefix)
        self._keys = (names.events, names.added_events)

    def add(self, event_id: str, event: str) -> bool:
        """Add one, and publish it on the channel; False: it was added before.

        Args:
            event_id: Its own.
            event: It, as JSON.

        Raises:
            redis.RedisError: The store cannot be asked. It may be there all the same.
        """
        bounds = (LENGTH, REMEMBERED_SECONDS * 1000, MOST_REMEMBERED)
        given = [*self._keys, event_id, event, *bounds]
        return bool(_SCRIPT.run(self._redis, len(self._keys), given))
