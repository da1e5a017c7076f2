"""How far the history is behind, what was lost on the way to it, and who works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobmon.store.keys import LEADER, SYNC
from jobmon.store.lease import HOLDER_FIELDS, Holder, holder_of
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobmon.store.keys import Keys

LEASES: Final = (LEADER, SYNC)
_ROWS: Final = "rows:"


@dataclass(frozen=True, slots=True)
class SyncState:
    """The sync as all servers know it. Times are Unix seconds by the store's clock."""

    now: float
    unsynced: int
    """Runs, and jobs without one, that changed since they were copied."""
    oldest_unsynced_at: float | None
    """When the one that waits longest changed; None: nothing waits."""
    failures_waiting: int
    """Jobs of which the table of failed jobs is to be told."""
    dead_letters: int
    """Records that were set aside and are kept."""
    rows: Mapping[str, int]
    """Copied so far, by table."""
    began_at: float | None
    """The last pass; None: there was none yet."""
    succeeded_at: float | None
    """End of the last pass that copied everything."""
    duration: float | None
    """Seconds that it took."""
    holders: Mapping[str, Holder | None]
    """By lease; None: nobody holds it."""
    dropped: int
    """Transitions that never came to the store."""
    expired_unsynced: int
    """Runs, and jobs without one, that expired before they were copied."""
    expired_failures: int
    """The same of what waits for the table of failed jobs."""
    dead_letters_ever: int
    """Set aside so far, whatever became of them."""

    @property
    def lag(self) -> float:
        """Seconds for which the oldest change has waited; 0 while nothing waits."""
        oldest = self.oldest_unsynced_at
        return 0.0 if oldest is None else max(0.0, self.now - oldest)


def ask(pipeline: Any, keys: Keys) -> int:
    """Ask for it within a pipeline; how many answers :func:`understood` needs."""
    pipeline.time()
    pipeline.zcard(keys.unsynced)
    pipeline.zrange(keys.unsynced, 0, 0, withscores=True)
    pipeline.zcard(keys.failures)
    pipeline.llen(keys.dead_letters)
    pipeline.hgetall(keys.sync_totals)
    for name in LEASES:
        pipeline.hmget(keys.lease(name), HOLDER_FIELDS)
    return 6 + len(LEASES)


def understood(answers: Sequence[Any], counters: Mapping[str, int]) -> SyncState:
    """What the answers say.

    Args:
        answers: To what :func:`ask` asked for.
        counters: The fields of ``totals:recorder``.
    """
    (seconds, micros), unsynced, oldest, failures, letters, totals, *leases = answers
    known = {text(field): number(value) for field, value in totals.items()}

    def moment(name: str) -> float | None:
        return known[name] / 1000 if name in known else None

    return SyncState(
        now=seconds + micros / 1_000_000,
        unsynced=unsynced,
        oldest_unsynced_at=oldest[0][1] / 1_000_000 if oldest else None,
        failures_waiting=failures,
        dead_letters=letters,
        rows={
            name.removeprefix(_ROWS): count
            for name, count in known.items()
            if name.startswith(_ROWS)
        },
        began_at=moment("began_ms"),
        succeeded_at=moment("success_ms"),
        duration=known["duration_us"] / 1_000_000 if "duration_us" in known else None,
        holders=dict(zip(LEASES, map(holder_of, leases), strict=True)),
        dropped=sum(n for name, n in counters.items() if name.startswith("dropped:")),
        expired_unsynced=counters.get("expired_unsynced", 0),
        expired_failures=counters.get("expired_failures", 0),
        dead_letters_ever=counters.get("dead_letters", 0),
    )
