"""Keeps a lease for as long as work goes on."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import redis

from jobmon.store.lease import RENEWALS

if TYPE_CHECKING:
    from jobmon.store.lease import Lease


@contextmanager
def holding(lease: Lease, token: int) -> Generator[None]:
    """Renew a lease inside the block, from a thread, and give it back at its end.

    Nobody is told that it was lost: the store's scripts and the history's fence refuse what is
    done from then on.

    Args:
        lease: The lease.
        token: What :meth:`Lease.acquire` gave.
    """
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease.seconds / RENEWALS):
            with suppress(redis.RedisError):  # it may answer before the lease ends
                if not lease.renew(token):
                    return

    renewing = threading.Thread(target=renew, name="jobmon-lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(redis.RedisError):
            lease.release(token)


@contextmanager
def taken(lease: Lease) -> Generator[int | None]:
    """Take a lease and keep it inside the block: its token; None while somebody else has it.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    token = lease.acquire()
    if token is None:
        yield None
        return
    with holding(lease, token):
        yield token
