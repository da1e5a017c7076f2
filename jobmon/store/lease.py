"""One holder at a time for the work that replicas share, with a token that fences off late ones.

A holder that died, or was frozen, loses the lease ``seconds`` after it renewed it last. What it
still does when it wakes carries a token that is no longer the lease's.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.keys import LEADER, SCHEMA_VERSION, SYNC, Keys
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from jobmon.settings import Settings

__all__ = ["LEADER", "SYNC", "Holder", "Lease"]

HOLDER_FIELDS: Final = ("token", "host", "pid", "since")
"""Of a lease's hash, as :func:`holder_of` wants them."""
RENEWALS: Final = 4
"""In the time for which a lease holds: some may fail."""
_SCRIPT: Final = script.read("lease.lua")
_LONGEST_HOST: Final = 255

_logger: Final = logging.getLogger("jobmon.store")


class Holder(NamedTuple):
    """Who holds a lease."""

    host: str
    pid: int
    since: float
    """Unix seconds, by the server's clock."""
    token: int


def holder_of(values: Sequence[bytes | None]) -> Holder | None:
    """What a lease's :data:`HOLDER_FIELDS` tell; None: nobody holds it."""
    token, host, pid, since = values
    if token is None:
        return None
    try:
        moment = float(since or b"")
    except ValueError:
        moment = 0.0
    return Holder(text(host or b""), number(pid), moment, number(token))


class Lease:
    """A lease by name. Safe to share between threads."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        name: str = LEADER,
        seconds: float = 10.0,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Of the store.
            settings: ``redis.prefix``.
            name: Of the lease. Scripts take a token while :data:`LEADER` or :data:`SYNC` has it.
            seconds: How long it holds after it was taken or renewed.
        """
        self._redis: Any = client
        keys = Keys(settings.redis.prefix)
        self._key = keys.lease(name)
        self._keys = (keys.meta, self._key)
        self.seconds: Final = seconds
        self._warned = False

    def acquire(self) -> int | None:
        """Take it: a token, higher than any before; None while somebody holds it.

        A process that holds it is refused too: it renews.

        Raises:
            redis.RedisError: The store cannot be asked. It may hold all the same.
        """
        return self._run("acquire", "") or None

    def renew(self, token: int) -> bool:
        """Hold it for ``seconds`` from now; False: it was lost.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run("renew", token) == token

    def release(self, token: int) -> bool:
        """Give it back; False: it was lost before.

        Raises:
            redis.RedisError: The store cannot be asked. It ends by itself.
        """
        return self._run("release", token) == token

    def holder(self) -> Holder | None:
        """Who holds it now.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return holder_of(self._redis.hmget(self._key, HOLDER_FIELDS))

    def _run(self, wish: str, token: int | str) -> int:
        arguments = [
            *self._keys,
            *(SCHEMA_VERSION, wish, token, int(self.seconds * 1000)),
            *(socket.gethostname()[:_LONGEST_HOST], os.getpid()),
        ]
        found = int(_SCRIPT.run(self._redis, len(self._keys), arguments))
        if found >= 0:
            return found
        if not self._warned:
            self._warned = True
            _logger.warning(
                "the state store was written by a newer jobmon: this one does no work on it "
                "until it is upgraded"
            )
        return 0
