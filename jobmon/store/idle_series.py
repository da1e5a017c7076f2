"""Forgets series that have counted nothing for ``metrics.series_retention_days``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jobmon.model import Outcome
from jobmon.store import script
from jobmon.store.keys import LEADER, SCHEMA_VERSION, Keys
from jobmon.store.series import COMMAND_BUCKETS, JOB_BUCKETS, label
from jobmon.store.waiting import lost_after_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from jobmon.settings import Settings

MOST_AT_ONCE: Final = 50
_DAY_MS: Final = 86_400_000
_SCRIPT: Final = script.read("idle_series.lua")


def _histogram(name: str, bounds: tuple[float, ...]) -> list[str]:
    return [f"{name}:{place}" for place in (*range(len(bounds) + 1), "sum_us")]


_JOB_FIELDS: Final = ["enqueued", "started", "lost_corrected"]
_QUEUE_FIELDS: Final = [
    *(f"finished:{outcome}" for outcome in Outcome),
    *_histogram("duration", JOB_BUCKETS),
    *_histogram("queue_time", JOB_BUCKETS),
]
_COMMAND_FIELDS: Final = [
    *("lost_corrected", "runs_lost_corrected", "last_start", "last_end", "last_success"),
    *("last_duration_us", "last_run_failed"),
    *(f"{family}:{outcome}" for family in ("runs", "jobs_finished") for outcome in Outcome),
    *_histogram("run_duration", COMMAND_BUCKETS),
    *_histogram("drain_duration", COMMAND_BUCKETS),
]


class IdleSeries:
    """Removes them with their labels, whose places others may take then."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        keys = Keys(settings.redis.prefix)
        self._client = client
        self._keys = (
            *(keys.meta, keys.lease(LEADER)),
            *(keys.job_series, keys.command_series, keys.error_series, keys.series_seen),
            *(keys.job_names, keys.queues, keys.error_types),
            *(keys.job_totals, keys.command_totals, keys.exemplars, keys.failed),
        )
        self._arguments = (
            settings.metrics.series_retention_days * _DAY_MS,
            lost_after_ms(settings),
            *(MOST_AT_ONCE, keys.pending(""), keys.processing("")),
            *map(json.dumps, (_JOB_FIELDS, _QUEUE_FIELDS, _COMMAND_FIELDS)),
        )

    def forget(self, token: int, in_use: Iterable[str]) -> int:
        """Forget all that are idle; how many those were.

        Args:
            token: Of the leader's lease; without it nothing happens.
            in_use: Commands whose series stay: one runs, or is to be sent.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        commands = [label(name) for name in in_use]
        forgotten = 0
        while True:
            arguments: list[Any] = [SCHEMA_VERSION, token, *self._arguments, *commands]
            found, gone = _SCRIPT.run(self._client, len(self._keys), [*self._keys, *arguments])
            forgotten += gone
            if found < MOST_AT_ONCE:
                return forgotten
