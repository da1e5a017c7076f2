"""How many jobs of each series wait and run, and how many do so for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.totals import text

if TYPE_CHECKING:
    from jobmon.settings import Settings
    from jobmon.store.keys import Keys

_SCRIPT: Final = script.read("waiting.lua")
_NUMBERS: Final = 4
_MARGIN_MS: Final = 3_600_000


class Waiting(NamedTuple):
    """Jobs of one series, pending ones also those to be retried."""

    pending: int = 0
    processing: int = 0
    pending_late: int = 0
    processing_late: int = 0


def lost_after_ms(settings: Settings) -> int:
    """After how long a job that waits or runs, and that nothing was heard of, has no record."""
    return max(settings.tracking_ttl, settings.failed_ttl) * 1000 + _MARGIN_MS


def by_series(client: Any, keys: Keys, settings: Settings) -> tuple[int, dict[str, Waiting]]:
    """Now in Unix ms by the store's clock, and the counts by the number of the series.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    limits = settings.late
    arguments = (
        *(keys.job_series, keys.pending(""), round(limits.pending_seconds * 1000)),
        *(keys.processing(""), round(limits.processing_seconds * 1000)),
        lost_after_ms(settings),
    )
    now_ms, *found = _SCRIPT.run(client, 1, arguments)
    step = 1 + _NUMBERS
    return now_ms, {
        text(found[at]): Waiting(*found[at + 1 : at + step]) for at in range(0, len(found), step)
    }
