"""Buckets of tokens that limit how much somebody asks: shared through Redis, or this process's.

Both count alike: a bucket is the moment at which it is full again.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobmon.store import script
from jobmon.store.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

_SCRIPT: Final = script.read("buckets.lua")
_MOST_LOCAL: Final = 10_000


class Size(NamedTuple):
    """How fast a bucket fills, and how much it holds."""

    per_minute: int
    most: int

    @property
    def interval_us(self) -> int:
        """Time in which one token comes."""
        return math.ceil(60_000_000 / self.per_minute)


class Wish(NamedTuple):
    """Tokens that somebody wants from a bucket."""

    kind: str
    """What is limited; with ``who`` the bucket's name."""
    who: str
    size: Size
    tokens: int = 1
    """Negative: given back. More than the bucket holds counts as all that it holds."""


class Level(NamedTuple):
    """What came of a wish."""

    granted: bool
    remaining: int
    """Tokens left."""
    wait_seconds: float
    """Until the same wish can be granted; 0 where it was."""
    full_in_seconds: float


class SharedBuckets:
    """Buckets in Redis. Safe to share between threads."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        """Make them.

        Args:
            client: Of the store.
            prefix: ``redis.prefix``.
        """
        self._client = client
        self._keys = Keys(prefix)

    def take(self, wishes: Sequence[Wish]) -> list[Level]:
        """Grant or refuse each wish, in one call.

        Raises:
            redis.RedisError: Redis cannot be asked. It may have granted them all the same.
        """
        call: list[Any] = [self._keys.rate(wish.kind, wish.who) for wish in wishes]
        for wish in wishes:
            call += (_tokens(wish), wish.size.interval_us, wish.size.most)
        found = _SCRIPT.run(self._client, len(wishes), call)
        return [_level(int(us), wish) for us, wish in zip(found, wishes, strict=True)]


class LocalBuckets:
    """The same in this process, for while Redis is away. Not safe to share between threads.

    It follows what Redis says, so that a client goes on from where it was.
    """

    def __init__(self) -> None:
        self._full_at: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Those used longest ago first; they are the first to be forgotten."""

    def take(self, wish: Wish, now_us: int) -> Level:
        """Grant or refuse a wish; ``now_us`` is of a clock that never goes back."""
        level = self._outcome(wish, now_us)
        if level.granted:
            self.follow(wish, level, now_us)
        return level

    def refusal(self, wish: Wish, now_us: int) -> Level | None:
        """A refusal that Redis need not be asked for: time alone fills a bucket there too."""
        level = self._outcome(wish, now_us)
        return None if level.granted else level

    def follow(self, wish: Wish, level: Level, now_us: int) -> None:
        """Take over what Redis said."""
        name = wish.kind, wish.who
        self._full_at[name] = now_us + round(level.full_in_seconds * 1_000_000)
        self._full_at.move_to_end(name)
        if len(self._full_at) > _MOST_LOCAL:
            self._full_at.popitem(last=False)

    def _outcome(self, wish: Wish, now_us: int) -> Level:
        full_at = self._full_at.get((wish.kind, wish.who), 0)
        interval, longest = wish.size.interval_us, wish.size.most * wish.size.interval_us
        left = max(min(max(full_at - now_us, 0), longest) + _tokens(wish) * interval, 0)
        return _level(longest - left if left > longest else left, wish)


def _tokens(wish: Wish) -> int:
    return min(wish.tokens, wish.size.most)


def _level(us: int, wish: Wish) -> Level:
    """From the script's answer."""
    interval, most = wish.size.interval_us, wish.size.most
    if us >= 0:
        return Level(True, most - math.ceil(us / interval), 0.0, us / 1_000_000)
    lacking = -us
    # What is there is what is wanted less what still has to come.
    full_in = (most - _tokens(wish)) * interval + lacking
    return Level(
        False, most - math.ceil(full_in / interval), lacking / 1_000_000, full_in / 1_000_000
    )
