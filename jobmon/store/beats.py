"""Takes beats: one script call for all that lives in a process, judged by Redis' clock."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.call import LONGEST_ID
from jobmon.store.keys import SCHEMA_VERSION, Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import redis

    from jobmon.model import Beat
    from jobmon.settings import Settings

MAX_BEATS: Final = 500
"""In one call; more take several."""
MAX_BODY_BYTES: Final = 32 * 1024
MOST_WORKERS: Final = 1_000
MOST_SCHEDULERS: Final = 100
MOST_ENTRIES: Final = 1_000
"""Of all schedules."""
MOST_KNOWN_JOBS: Final = 1_000
"""Of all workers."""
WORKER_FORGOTTEN_SECONDS: Final = 86_400
"""After its last beat, where no server judged it; so is a job that no worker knows any more."""
SCHEDULER_FORGOTTEN_SECONDS: Final = 7 * 86_400
"""A scheduler that died must be seen by whoever looks after a long weekend."""
ENTRY_STALE_SECONDS: Final = 3_600
"""An entry, or a known job, that was not told again for so long gives way to a new one."""

_KINDS: Final = frozenset({"worker", "run", "scheduler", "schedule", "job"})
_SCRIPT: Final = script.read("beats.lua")

_logger: Final = logging.getLogger("jobmon.store")


class Taken(NamedTuple):
    """What became of some beats."""

    taken: int = 0
    refused: int = 0
    """All places were taken, or the store's schema is newer."""
    missing: tuple[str, ...] = ()
    """Ids of runs that the store does not hold as running."""


class Beats:
    """Sends beats. One per thread that writes."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        keys = Keys(settings.redis.prefix)
        self._client = client
        self._keys = (
            *(keys.meta, keys.recorder_totals),
            *(keys.workers, keys.worker_beats, keys.lost_workers),
            *(keys.schedulers, keys.scheduler_beats),
            *(keys.run_beats, keys.running),
            *(keys.schedules, keys.schedules_seen, keys.known_jobs),
        )
        self._arguments = (
            SCHEMA_VERSION,
            *(MOST_WORKERS, MOST_SCHEDULERS, MOST_ENTRIES, MOST_KNOWN_JOBS),
            *(WORKER_FORGOTTEN_SECONDS * 1000, SCHEDULER_FORGOTTEN_SECONDS * 1000),
            ENTRY_STALE_SECONDS * 1000,
        )
        self._warned = False

    def send(self, beats: Sequence[Beat]) -> Taken:
        """Say who lives. What is no valid beat is left out.

        Raises:
            redis.RedisError: Nothing of the last call was taken, or its answer was lost.
        """
        result = Taken()
        for start in range(0, len(beats), MAX_BEATS):
            answer = self._send(beats[start : start + MAX_BEATS])
            result = Taken(*map(_sum, result, answer))
        return result

    def _send(self, beats: Sequence[Beat]) -> Taken:
        arguments: list[Any] = [*self._keys, *self._arguments]
        for beat in _valid(beats):
            body = beat.body if len(beat.body) <= MAX_BODY_BYTES else b""
            age_ms = min(max(beat.age_ms, 0), 1 << 52)
            arguments += (beat.kind, beat.id, age_ms, int(beat.gone), body)
        answer = _SCRIPT.run(self._client, len(self._keys), arguments)
        if answer[0] == -1:
            if not self._warned:
                self._warned = True
                _logger.warning(
                    "the state store has schema %s, this jobmon writes %s: its workers are not "
                    "shown until it is upgraded",
                    answer[1],
                    SCHEMA_VERSION,
                )
            return Taken(refused=len(beats))
        missing = tuple(one.decode() if isinstance(one, bytes) else one for one in answer[2:])
        return Taken(answer[0], answer[1], missing)


def _valid(beats: Sequence[Beat]) -> Iterable[Beat]:
    return (
        beat
        for beat in beats
        if beat.kind in _KINDS and 0 < len(beat.id.encode("utf-8", "replace")) <= LONGEST_ID
    )


def _sum(one: Any, other: Any) -> Any:
    return one + other
