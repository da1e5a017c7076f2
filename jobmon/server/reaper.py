"""Ends what nobody else ends: what fell silent, and runs whose root job has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobmon.store import roots
from jobmon.store.keys import Keys
from jobmon.store.reaper import Reaper
from jobmon.store.writer import Writer

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_ROOTS_EVERY_SECONDS: Final = 60.0


class Reaping:
    """Passes of the reaper, and less often those over the roots of runs."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._keys = Keys(settings.redis.prefix)
        self._reaper = Reaper(client, settings)
        self._writer = Writer(client, settings)
        self._roots_at = time.monotonic() + _ROOTS_EVERY_SECONDS
        self.interval_seconds: Final = self._reaper.interval_seconds
        """Between two passes."""

    def once(self) -> None:
        """One pass.

        Raises:
            redis.RedisError: The store cannot be asked. Nobody is taken for lost until it can.
        """
        self._reaper.reap()
        if time.monotonic() >= self._roots_at:
            self._roots_at = time.monotonic() + _ROOTS_EVERY_SECONDS
            ends = roots.overdue(self._client, self._keys, self._settings)
            if ends:
                self._writer.apply(ends)
