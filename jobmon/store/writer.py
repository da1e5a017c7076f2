"""Applies transitions: one script call per batch compares, replaces, counts and indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from jobmon.model import RunTransition, Transition

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

MAX_BATCH: Final = 200
"""Transitions in one call; 1,000 would hold Redis for some 10 ms."""
MAX_BATCH_BYTES: Final = 1024 * 1024
"""Bytes of their bodies in one call."""


class Applied(NamedTuple):
    """What became of a batch."""

    applied: int = 0
    """They replaced the record (or were a run's start or end)."""
    late: int = 0
    """The record stands, a stage of them was counted."""
    ignored: int = 0
    """Nothing new."""
    stale: int = 0
    """Of an attempt too old to count; in `dropped` under `stale`."""
    malformed: int = 0
    """Not a valid transition, or refused by the script alone; in `dropped`."""
    version: int = 0
    """Of the last call; grows with every call."""
    refused: int = 0
    """Not written because the store's schema is newer than this jobmon."""


class Writer:
    """The writing half of the store. One per thread that writes."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        raise NotImplementedError

    def apply(
        self,
        batch: Sequence[Transition | RunTransition],
        dropped: Mapping[str, int] = {},
    ) -> Applied:
        """Apply a batch. Sent again, it changes nothing.

        Args:
            batch: In the order they happened, at most :data:`MAX_BATCH` and
                :data:`MAX_BATCH_BYTES`.
            dropped: Transitions lost since the last successful call, by reason.

        Raises:
            redis.RedisError: Nothing of the batch was applied, or its answer was lost;
                send it again later.
        """
        raise NotImplementedError
