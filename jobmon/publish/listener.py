"""Hears of anomalies in any process, from the stream in Redis.

Imports redis and the standard library only: workers and scripts may listen.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import redis

from jobmon import settings as configuration
from jobmon.anomaly import PerformanceAnomalyDetected
from jobmon.inert import inert
from jobmon.store import connection
from jobmon.store.clock import now_us
from jobmon.store.keys import Keys

if TYPE_CHECKING:
    from jobmon.settings import Settings

BEGINNING: Final = "0-0"
"""As ``since``: everything that is there."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PAGE: Final = 100
_BLOCK_MS: Final = 1000
_LEFT_MS: Final = 60_000
"""Longer than the work on one event takes: after it, whoever had it in hand is taken for dead."""
_CLAIM_EVERY_SECONDS: Final = 10.0
_CONSUMER_DAY_MS: Final = 86_400_000
_LONGEST_WAIT_SECONDS: Final = 10.0

_log: Final = logging.getLogger("jobmon.events")


class Heard(NamedTuple):
    """An event, and where it stands in the stream."""

    entry_id: str
    event: PerformanceAnomalyDetected


def listen(
    *, group: str | None = None, since: str | None = None, stop: threading.Event | None = None
) -> Iterator[PerformanceAnomalyDetected]:
    """Events of anomalies as they come, until told to stop; waits while Redis is away.

    Of the listeners of a group each event goes to one. It counts as done when the next one is asked
    for; if that does not happen within a minute, another listener gets it. An event may come twice:
    its ``id`` tells.

    Args:
        group: Name of the group, which remembers where it is; None: no other listener matters.
        since: The id of an entry of the stream, after which to begin, or how long ago, such as
            ``2h``. None: what comes from now on. Of a group, the first listener's counts.
        stop: Once set, there are no more; looked at each second.

    Raises:
        SettingsError: The configuration cannot be used.
        ValueError: ``since`` is neither.
        redis.RedisError: Redis refuses.
    """
    settings = configuration.load()
    with connection.connect(settings) as client:
        listener = Listener(client, settings, group=group, since=since, stop=stop)
        for heard in listener.events():
            yield heard.event


class Listener:
    """Reads the stream, alone or as one of a group. One thread at a time."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        *,
        group: str | None = None,
        since: str | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Make one; nothing is asked yet.

        Args:
            client: Of the store.
            settings: ``redis``.
            group: As of `listen`.
            since: As of `listen`.
            stop: As of `listen`.

        Raises:
            ValueError: ``since`` is neither.
        """
        self._redis: Any = client
        self._key = Keys(settings.redis.prefix).events
        self._group = group
        self._consumer = f"{socket.gethostname()[:200]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._since, self._ago_us = _since(since)
        self._stop = stop or threading.Event()
        # Half of the client's patience: an answer is on its way before that ends.
        self._block_ms = max(1, min(_BLOCK_MS, int(settings.redis.timeout * 500)))
        self._last: str | None = None
        self._has_joined = False
        self._handled: list[str] = []
        self._claim_at = 0.0
        self._claim_from = BEGINNING

    def events(self, *, follow: bool = True) -> Generator[Heard]:
        """What was, and what comes; in a group each is done when the next one is asked for.

        Args:
            follow: Go on at the end of what is there, and while Redis is away.

        Raises:
            redis.RedisError: Redis refuses; without ``follow``, also that it is away.
        """
        failures = 0
        try:
            while not self._stop.is_set():
                try:
                    entries = self._read(self._block_ms if follow else None)
                except (redis.ConnectionError, redis.TimeoutError) as error:
                    if not follow:
                        raise
                    if not failures:
                        _log.warning("Redis does not answer, waiting for it: %s", inert(error))
                    failures += 1
                    self._stop.wait(min(2.0**failures / 2, _LONGEST_WAIT_SECONDS))
                    continue
                if failures:
                    _log.warning("Redis answers again")
                    failures = 0
                for entry_id, fields in entries:
                    event = _event(entry_id, fields)
                    if event is not None:
                        yield Heard(entry_id, event)
                    self._handled.append(entry_id)
                    if self._stop.is_set():
                        return
                if not entries and not follow:
                    return
        finally:
            with suppress(redis.RedisError):
                self._leave()

    def _read(self, block_ms: int | None) -> list[_Entry]:
        if self._group is None:
            return self._read_alone(block_ms)
        if self._handled:
            self._redis.xack(self._key, self._group, *self._handled)
            self._handled.clear()
        if not self._has_joined:
            self._join(self._group, self._start("$"))
        try:
            # One at a time: what waits in hand for long is taken for a dead one's.
            return self._left_behind() or self._read_next(block_ms)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            # The store has lost all that it held: what is there now, nobody has heard.
            self._join(self._group, BEGINNING)
            return []

    def _read_alone(self, block_ms: int | None) -> list[_Entry]:
        if self._last is None:
            self._last = self._start(None)
        answer = self._redis.xread({self._key: self._last}, count=_PAGE, block=block_ms)
        entries = _entries(answer)
        if entries:
            self._last = entries[-1][0]
        self._handled.clear()
        return entries

    def _read_next(self, block_ms: int | None) -> list[_Entry]:
        answer = self._redis.xreadgroup(
            self._group, self._consumer, {self._key: ">"}, count=1, block=block_ms
        )
        return _entries(answer)

    def _left_behind(self) -> list[_Entry]:
        """One that a listener has not done in a minute, if there is any."""
        if time.monotonic() < self._claim_at:
            return []
        answer = self._redis.xautoclaim(
            *(self._key, self._group, self._consumer, _LEFT_MS, self._claim_from), count=1
        )
        self._claim_from = _text(answer[0])
        entries = _listed(answer[1])
        if not entries and self._claim_from == BEGINNING:
            self._claim_at = time.monotonic() + _CLAIM_EVERY_SECONDS
        return entries

    def _start(self, from_now: str | None) -> str:
        """After which entry to begin; ``from_now`` stands for the last one where it may."""
        if self._ago_us is not None:
            return f"{max(0, now_us(self._redis) - self._ago_us) // 1000}-0"
        if self._since is not None:
            return self._since
        if from_now is not None:
            return from_now
        newest = _listed(self._redis.xrevrange(self._key, count=1))
        return newest[0][0] if newest else BEGINNING

    def _join(self, group: str, start: str) -> None:
        try:
            self._redis.xgroup_create(self._key, group, start, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            self._forget_the_dead(group)
        self._has_joined = True

    def _forget_the_dead(self, group: str) -> None:
        """Names of listeners that have not asked for a day, and have nothing in hand."""
        for one in self._redis.xinfo_consumers(self._key, group):
            if not one["pending"] and one["idle"] > _CONSUMER_DAY_MS:
                self._redis.xgroup_delconsumer(self._key, group, one["name"])

    def _leave(self) -> None:
        """Give the group what is done; of what is in hand nothing is taken from it."""
        if self._group is None or not self._has_joined:
            return
        if self._handled:
            self._redis.xack(self._key, self._group, *self._handled)
            self._handled.clear()
        for one in self._redis.xinfo_consumers(self._key, self._group):
            if _text(one["name"]) == self._consumer and not one["pending"]:
                self._redis.xgroup_delconsumer(self._key, self._group, self._consumer)


_Entry = tuple[str, dict[bytes, bytes]]


def _since(given: str | None) -> tuple[str | None, int | None]:
    """The id of an entry, or so many µs ago."""
    if given is None:
        return None, None
    if re.fullmatch(r"[0-9]{1,19}(-[0-9]{1,19})?", given):
        return given, None
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", given)
    if found is None:
        raise ValueError("expected the id of an entry, or how long ago: 90s, 15m, 2h or 3d")
    return None, int(found[1]) * _UNITS[found[2]] * 1_000_000


def _entries(answer: Any) -> list[_Entry]:
    """Of an answer about the one stream, as redis-py gives it by either protocol."""
    if isinstance(answer, dict):
        lists = cast("dict[object, list[Any]]", answer).values()
        return [one for pages in lists for page in pages for one in _listed(page)]
    return [one for _, page in answer or () for one in _listed(page)]


def _listed(page: Iterable[Any]) -> list[_Entry]:
    # Of an entry that was cut off meanwhile, nothing is left but that it waits.
    return [(_text(one[0]), one[1]) for one in page if one is not None and one[1] is not None]


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


def _event(entry_id: str, fields: dict[bytes, bytes]) -> PerformanceAnomalyDetected | None:
    """None: it is none; anybody may write into Redis."""
    try:
        return PerformanceAnomalyDetected.from_json(fields.get(b"event", b""))
    except ValueError as error:
        _log.warning("entry %s of the stream is passed over: %s", entry_id, inert(error))
        return None
