"""Which of all servers does the work that is done once: it holds a lease, and renews it."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import redis

from jobmon.server.seldom import Seldom
from jobmon.store import connection
from jobmon.store.keys import LEADER
from jobmon.store.lease import RENEWALS, Lease

if TYPE_CHECKING:
    from jobmon.settings import Settings

_LOG_EVERY_SECONDS: Final = 600.0

_log: Final = logging.getLogger("jobmon.serve")


class Leader:
    """Whether this server leads. Another one takes over within 15 s of its death or standstill.

    The lease ends 10 s after it was renewed last; who does not hold it asks for it every 2.5 s.
    """

    def __init__(self, settings: Settings, lease_seconds: float = 10.0) -> None:
        # A client of its own, which waits no longer than until the next turn: with a longer wait
        # one lost packet would cost the lease.
        pause = lease_seconds / RENEWALS
        self._client = connection.connect(settings, timeout=min(settings.redis.timeout, pause))
        self._lease = Lease(self._client, settings, LEADER, lease_seconds)
        self._pause = pause
        self._token: int | None = None
        self._good_until = float("-inf")
        self._trouble = Seldom(_LOG_EVERY_SECONDS)
        self._ended = threading.Event()
        # Of its own as well: nobody's long work may keep it from renewing.
        self._thread = threading.Thread(target=self._run, name="jobmon-leader", daemon=True)

    @property
    def token(self) -> int | None:
        """Of the lease while it is ours; None: another server leads, or nobody knows."""
        # A process that was stopped for a while has lost it, whatever it remembers.
        return self._token if time.monotonic() < self._good_until else None

    def start(self) -> None:
        """Ask for the lease, again and again, and keep it."""
        self._thread.start()

    def stop(self) -> None:
        """Give the lease back, so that another server takes it at its next turn."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        token, self._token = self._token, None
        self._good_until = float("-inf")
        if token is not None:
            with suppress(redis.RedisError):  # it ends by itself
                self._lease.release(token)
        self._client.close()

    def _run(self) -> None:
        while True:
            self._turn()
            if self._ended.wait(self._pause):
                return

    def _turn(self) -> None:
        # Without an answer the lease ends, here and there: it is counted from before the call.
        asked_at = time.monotonic()
        try:
            if self._token is not None:
                if self._lease.renew(self._token):
                    self._good_until = asked_at + self._lease.seconds
                    return
                self._token = None
                _log.warning("this server leads no longer: it has lost the lease")
                asked_at = time.monotonic()
            self._token = self._lease.acquire()
            if self._token is not None:
                self._good_until = asked_at + self._lease.seconds
                _log.info("this server leads: it copies, and ends what nobody else ends")
        except Exception as error:
            if self._trouble.is_due():
                _log.warning(
                    "nothing is copied, and nobody is taken for lost while the store does not "
                    "answer: %s",
                    error,
                )
