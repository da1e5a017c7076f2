"""How many events were delivered to each sink, and how many alerts were sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from jobmon.store.keys import Keys
from jobmon.store.series import OTHER
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

Result = Literal["delivered", "failed", "dropped"]
RESULTS: Final[tuple[Result, ...]] = ("delivered", "failed", "dropped")
"""``failed``: an attempt that is repeated; ``dropped``: given up."""
MOST_SINKS: Final = 100
"""That are counted by their own names."""
_WAITING: Final = "waiting"
_ALERTS: Final = "alerts"


@dataclass(frozen=True, slots=True)
class DeliveryTotals:
    """All of it."""

    ended: Mapping[tuple[str, str], int]
    """By sink and result."""
    waiting: Mapping[str, int]
    """Gauge: deliveries that are to be made, by sink."""
    alerts: Mapping[tuple[str, str], int]
    """Alerts sent straight to Alertmanager, by its peer's place among the urls, and result."""


class DeliveryCounts:
    """Their writing half. Safe to share between threads; whoever writes publishes."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._key = Keys(settings.redis.prefix).delivery_totals
        self._names: set[str] = set()

    def begin(self, sinks: Iterable[str]) -> None:
        """Show those sinks from 0 on, so that `increase()` sees the first delivery.

        Where there are too many, those make room that are none of these and that nothing waits for.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        wanted, held = set(sinks), self._held()
        pairs = [field.partition(":") for field in held]
        known = {name for family, _, name in pairs if family in RESULTS and name != OTHER}
        pipeline = self._redis.pipeline(transaction=False)
        if len(known | wanted) > MOST_SINKS:
            gone = {name for name in known - wanted if not held.get(f"{_WAITING}:{name}")}
            known -= gone
            for name in gone:
                pipeline.hdel(self._key, *(f"{result}:{name}" for result in RESULTS))
        new = sorted(wanted - known)[: max(0, MOST_SINKS - len(known))]
        for name in new:
            for result in RESULTS:
                pipeline.hsetnx(self._key, f"{result}:{name}", 0)
        pipeline.execute()
        self._names = known & wanted | set(new)

    def count(self, sink: str, result: Result, many: int = 1) -> None:
        """Count deliveries.

        Raises:
            redis.RedisError: The store cannot be asked. They may be counted all the same.
        """
        name = sink if sink in self._names else OTHER
        self._redis.hincrby(self._key, f"{result}:{name}", many)

    def wait(self, waiting: Mapping[str, int]) -> None:
        """So many deliveries are to be made, by sink; of those that are not named, none.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        now = {f"{_WAITING}:{name}": 0 for name in self._names}
        for sink, many in waiting.items():
            field = f"{_WAITING}:{sink if sink in self._names else OTHER}"
            now[field] = now.get(field, 0) + many
        # Another server may have written since this one did.
        held = {k: v for k, v in self._held().items() if k.startswith(f"{_WAITING}:")}
        pipeline = self._redis.pipeline()
        if stale := held.keys() - now.keys():
            pipeline.hdel(self._key, *stale)
        if changed := dict(now.items() - held.items()):
            pipeline.hset(self._key, mapping=changed)
        pipeline.execute()

    def _held(self) -> dict[str, int]:
        return {text(k): number(v) for k, v in self._redis.hgetall(self._key).items()}

    def alerts(self, peer: int, sent: Mapping[str, int]) -> None:
        """Count alerts that were sent to a peer, by result; 0 shows it.

        Raises:
            redis.RedisError: The store cannot be asked. They may be counted all the same.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for result, many in sent.items():
            pipeline.hincrby(self._key, f"{_ALERTS}:{result}:{peer}", many)
        pipeline.execute()


def understood(raw: Mapping[bytes, bytes]) -> DeliveryTotals:
    """What the fields of ``totals:deliveries`` say."""
    ended: dict[tuple[str, str], int] = {}
    waiting: dict[str, int] = {}
    alerts: dict[tuple[str, str], int] = {}
    for field, value in raw.items():
        family, _, name = text(field).partition(":")
        if family == _WAITING:
            waiting[name] = number(value)
        elif family == _ALERTS:
            result, _, peer = name.partition(":")
            alerts[peer, result] = number(value)
        elif family in RESULTS:
            ended[name, family] = number(value)
    return DeliveryTotals(ended, waiting, alerts)
