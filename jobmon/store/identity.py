"""Which store it is: several, of other prefixes or other servers, may share one database."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from jobmon.store.keys import Keys
from jobmon.store.totals import text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

_FIELD: Final = "id"


class Identity:
    """A name that the store keeps for itself, made by whoever asks first."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._meta = Keys(settings.redis.prefix).meta

    def __call__(self) -> str:
        """32 hexadecimal digits; others once the store has lost all that it held.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        known = self._redis.hget(self._meta, _FIELD)
        if known is None:
            self._redis.hsetnx(self._meta, _FIELD, uuid.uuid4().hex)
            known = self._redis.hget(self._meta, _FIELD)
        return text(known or b"")[:32]
