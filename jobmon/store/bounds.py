"""Bounds of what is normal, as learned: kept for whoever learns next, shown by ``/metrics``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from jobmon.store.keys import Keys
from jobmon.store.series import MOST_COMMANDS, SEPARATOR, label
from jobmon.store.totals import text

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings

MOST_QUEUES: Final = 500
SAMPLES_KEPT_SECONDS: Final = 7 * 86_400


class Bound(NamedTuple):
    """A number that moves seldom. Times are Unix seconds."""

    value: float
    moved_at: float = 0.0
    """When it last moved; 0: it has not since it first appeared."""
    rounds: int = 0
    """Rounds of learning in a row that came to something else."""


class Bounds(NamedTuple):
    """Those of one command; None: too little is known."""

    duration_lower: Bound | None = None
    """Seconds, as all durations: of the run itself, not of its jobs."""
    duration_upper: Bound | None = None
    failure_ratio_upper: Bound | None = None
    """From 0 to 1."""
    jobs_lower: Bound | None = None
    """Jobs of a run."""
    jobs_upper: Bound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned of one command. Times are Unix seconds."""

    bounds: Bounds
    maximum_seconds: float | None = None
    """Declared: stands in place of the upper bound of the duration."""
    runs: int = 0
    """That the bounds rest on."""
    learned_at: float = 0.0
    started_at: float = 0.0
    """Start of the newest run that was judged."""
    jobs: float | None = None
    """Of that run."""
    failure_ratio: float | None = None
    """Of its jobs; None: it had none."""
    expected_at: float | None = None
    """When it has to start next; None: nobody knows of a schedule."""
    expected_after: float = 0.0
    """The last start when that was worked out: after a later one it no longer holds."""
    grace_seconds: float | None = None
    """How late a start may be."""
    is_muted: bool = False
    """Nobody is to be told of it: nothing is shown."""

    @property
    def longest(self) -> float | None:
        """Seconds after which a run takes too long."""
        if self.maximum_seconds is not None:
            return self.maximum_seconds
        upper = self.bounds.duration_upper
        return None if upper is None else upper.value


class BoundStore:
    """Where they are kept. Safe to share between threads; whoever writes holds the lease."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._keys = Keys(settings.redis.prefix)
        self._seconds = settings.analyze_mode.retention_days * 86_400

    def commands(self) -> dict[tuple[str, ...], Learned]:
        """By application, environment and command.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return _by_key(self._redis.hgetall(self._keys.command_bounds))

    def labels(self) -> frozenset[str]:
        """Commands that have series of their own.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return frozenset(map(text, self._redis.hkeys(self._keys.command_series)))

    def write(
        self, changed: Mapping[tuple[str, ...], Learned], gone: Iterable[tuple[str, ...]] = ()
    ) -> None:
        """Keep what has changed, drop what is gone; all else holds on.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for key, one in changed.items():
            pipeline.hset(self._keys.command_bounds, _field(key), _encoded(one))
        for key in gone:
            pipeline.hdel(self._keys.command_bounds, _field(key))
        pipeline.expire(self._keys.command_bounds, self._seconds)
        pipeline.execute()

    def queues(self) -> dict[tuple[str, ...], Bound]:
        """Bounds of the time in a queue, seconds, by engine and queue.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return queue_bounds(self._redis.hgetall(self._keys.queue_bounds))

    def sampled(self) -> set[tuple[str, ...]]:
        """Queues of which samples are kept, and what else is kept beside them.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        fields = self._redis.hkeys(self._keys.queue_samples)
        return {tuple(text(field).split(SEPARATOR)) for field in fields}

    def samples(self, queues: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], bytes]:
        """What was kept of queues.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        wanted = list(queues)
        if not wanted:
            return {}
        found = self._redis.hmget(self._keys.queue_samples, [_field(key) for key in wanted])
        return {key: raw for key, raw in zip(wanted, found, strict=True) if raw is not None}

    def write_queues(
        self,
        bounds: Mapping[tuple[str, ...], Bound],
        samples: Mapping[tuple[str, ...], bytes],
        gone: Iterable[tuple[str, ...]] = (),
    ) -> None:
        """Keep what has changed, drop what is gone; all else holds on.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for key, raw in samples.items():
            pipeline.hset(self._keys.queue_samples, _field(key), raw)
        for key, one in bounds.items():
            pipeline.hset(self._keys.queue_bounds, _field(key), json.dumps(one))
        for key in gone:
            pipeline.hdel(self._keys.queue_samples, _field(key))
            pipeline.hdel(self._keys.queue_bounds, _field(key))
        pipeline.expire(self._keys.queue_samples, SAMPLES_KEPT_SECONDS)
        pipeline.expire(self._keys.queue_bounds, SAMPLES_KEPT_SECONDS)
        pipeline.execute()


def by_command(raw: Mapping[bytes, bytes]) -> dict[str, Learned]:
    """What is shown of each command, whatever applications and environments it is of.

    Series tell those not apart: of several, bounds are the widest, all else is of the newest run.
    """
    found: dict[str, Learned] = {}
    for (_, _, command), one in _by_key(raw).items():
        name = label(command).decode()
        if not one.is_muted:
            found[name] = _merged(found[name], one) if name in found else one
    return found


def queue_bounds(raw: Mapping[bytes, bytes]) -> dict[tuple[str, ...], Bound]:
    """Of queues, by engine and queue."""
    found: dict[tuple[str, ...], Bound] = {}
    for field, body in raw.items():
        key, bound = tuple(text(field).split(SEPARATOR)), _bound(_decoded(body))
        if len(key) == 2 and bound is not None and len(found) < MOST_QUEUES:
            found[key] = bound
    return found


def _merged(one: Learned, other: Learned) -> Learned:
    newest, older = (one, other) if one.started_at >= other.started_at else (other, one)
    bounds = Bounds(
        *(
            (max if name.endswith("_upper") else min)((b for b in both if b), default=None)
            for name, *both in zip(Bounds._fields, one.bounds, other.bounds, strict=True)
        )
    )
    declared = [b for b in (one.longest, other.longest) if b is not None]
    is_declared = newest.maximum_seconds is not None or older.maximum_seconds is not None
    return replace(
        newest,
        bounds=bounds,
        maximum_seconds=max(declared) if is_declared else None,
        runs=min(one.runs, other.runs),
    )


def _by_key(raw: Mapping[bytes, bytes]) -> dict[tuple[str, ...], Learned]:
    found: dict[tuple[str, ...], Learned] = {}
    for field, body in raw.items():
        key, one = tuple(text(field).split(SEPARATOR)), _learned(body)
        if len(key) == 3 and one is not None and len(found) < MOST_COMMANDS:
            found[key] = one
    return found


def _field(key: tuple[str, ...]) -> str:
    return SEPARATOR.join(key)


def _encoded(one: Learned) -> str:
    told = {name: getattr(one, name) for name in Learned.__slots__ if name != "bounds"}
    bounds = {name: bound for name, bound in one.bounds._asdict().items() if bound is not None}
    return json.dumps({**told, "bounds": bounds}, separators=(",", ":"))


def _learned(body: bytes) -> Learned | None:
    said = _decoded(body)
    if not isinstance(said, dict):
        return None
    told = cast("dict[str, Any]", said)
    bounds: Any = told.pop("bounds", {})
    try:
        own = Bounds(*(_bound(bounds.get(name)) for name in Bounds._fields))
    except AttributeError:
        return None
    numbers: dict[str, Any] = {
        name: value
        for name, value in told.items()
        if isinstance(value, int | float) and name in Learned.__slots__
    }
    return Learned(bounds=own, **numbers)


def _bound(raw: object) -> Bound | None:
    try:
        value, moved_at, rounds = cast("list[Any]", raw)
        return Bound(float(value), float(moved_at), int(rounds))
    except (TypeError, ValueError, OverflowError):
        return None


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
