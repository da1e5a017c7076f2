"""How many jobs of each series wait and run, and how many do so for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.totals import text

if TYPE_CHECKING:
    from jobmon.settings.schema import Late as Limits
    from jobmon.store.keys import Keys

_SCRIPT: Final = script.read("waiting.lua")
_NUMBERS: Final = 4


class Waiting(NamedTuple):
    """Jobs of one series, pending ones also those to be retried."""

    pending: int = 0
    processing: int = 0
    pending_late: int = 0
    processing_late: int = 0


def by_series(client: Any, keys: Keys, limits: Limits) -> tuple[int, dict[str, Waiting]]:
    """Now in Unix ms by the store's clock, and the counts by the number of the series.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    arguments = (
        *(keys.job_series, keys.pending(""), round(limits.pending_seconds * 1000)),
        *(keys.processing(""), round(limits.processing_seconds * 1000)),
    )
    now_ms, *found = _SCRIPT.run(client, 1, arguments)
    step = 1 + _NUMBERS
    return now_ms, {
        text(found[at]): Waiting(*found[at + 1 : at + step]) for at in range(0, len(found), step)
    }
