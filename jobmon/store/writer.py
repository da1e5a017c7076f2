"""Applies transitions: one script call per batch compares, replaces, counts and indexes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from struct import error
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis import exceptions

from jobmon.store import script
from jobmon.store.call import Call, fixed_arguments, fixed_keys
from jobmon.store.keys import SCHEMA_VERSION, Keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

    from jobmon.model import RunTransition, Transition
    from jobmon.settings import Settings

MAX_BATCH: Final = 200
"""Transitions in one call; 1,000 would hold Redis for some 10 ms."""
MAX_BATCH_BYTES: Final = 1024 * 1024
"""Bytes of their bodies in one call."""

_TROUBLE: Final = re.compile(
    r"\b(OOM|BUSY|READONLY|LOADING|NOPERM|NOAUTH|MISCONF|MASTERDOWN|NOREPLICAS|TRYAGAIN"
    r"|CLUSTERDOWN|ACL failure|can't run this command|can't access at least one)\b"
)
_SCRIPT: Final = script.read("transitions.lua")

_logger: Final = logging.getLogger("jobmon.store")


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
        self._client = client
        self._keys = Keys(settings.redis.prefix)
        self._fixed_keys = fixed_keys(self._keys)
        self._fixed_arguments = fixed_arguments(self._keys, settings)
        self._owed: Counter[str] = Counter()

    def apply(
        self,
        batch: Sequence[Transition | RunTransition],
        dropped: Mapping[str, int] = {},
    ) -> Applied:
        """Apply a batch. Sent again, it changes nothing.

        Args:
            batch: In the order they happened. More than :data:`MAX_BATCH` or
                :data:`MAX_BATCH_BYTES` take several calls.
            dropped: Transitions lost since the last successful call, by reason.

        Raises:
            redis.RedisError: Nothing of the last call was applied, or its answer was lost;
                send the batch again later.
        """
        owed = self._owed + Counter(dropped)
        result = [0] * len(Applied._fields)
        for part in _parts(batch):
            self._apply(part, owed, result)
        self._owed = owed
        return Applied(*result)

    def _apply(
        self, part: Sequence[Transition | RunTransition], owed: Counter[str], result: list[int]
    ) -> None:
        call = Call(self._keys, self._fixed_keys, self._fixed_arguments)
        for item in part:
            try:
                call.add(item)
            except (ValueError, TypeError, AttributeError, LookupError, error) as reason:
                result[4] += 1
                owed["malformed"] += 1
                _logger.debug("a transition was dropped: %s", reason)
        if not call.count and not owed:
            return
        try:
            answer = self._evaluate(call, owed)
        except exceptions.ResponseError as reason:
            if _is_trouble(reason):
                raise
            if call.count <= 1:
                result[4] += call.count
                owed["script_error"] += call.count
                _logger.warning("the state store refuses a transition: %s", reason)
                return
            middle = len(part) // 2
            self._apply(part[:middle], owed, result)
            self._apply(part[middle:], owed, result)
            return
        owed.clear()
        if answer[0] == -1:
            result[6] += call.count
            _logger.warning(
                "the state store has schema %s, this jobmon writes %s: upgrade it, nothing is "
                "recorded until then",
                answer[1],
                SCHEMA_VERSION,
            )
            return
        for place in range(4):
            result[place] += answer[place]
        result[5] = int(answer[4])

    def _evaluate(self, call: Call, owed: Mapping[str, int]) -> list[Any]:
        return _SCRIPT.run(self._client, len(call.keys), call.keys_and_arguments(owed))


def _parts(
    batch: Sequence[Transition | RunTransition],
) -> Iterator[Sequence[Transition | RunTransition]]:
    start = size = 0
    for at, item in enumerate(batch):
        length = len(getattr(item, "body", b""))
        size += length
        if at > start and (at - start >= MAX_BATCH or size > MAX_BATCH_BYTES):
            yield batch[start:at]
            start, size = at, length
    yield batch[start:]


def _is_trouble(reason: exceptions.ResponseError) -> bool:
    """Whether the server refuses everything for now, rather than one transition."""
    if isinstance(reason, exceptions.OutOfMemoryError | exceptions.ReadOnlyError):
        return True
    if isinstance(reason, exceptions.NoPermissionError):
        return True
    return _TROUBLE.search(str(reason)) is not None
