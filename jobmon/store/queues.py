"""How many jobs the queues hold, as the server that leads last read it from the brokers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.store import script, workers
from jobmon.store.keys import LEADER, SCHEMA_VERSION, Keys
from jobmon.store.members import unix_time
from jobmon.store.series import MOST_QUEUES, OTHER, SEPARATOR, label
from jobmon.store.totals import number, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import redis

    from jobmon.settings import Settings

ENGINES: Final = ("celery", "rq")
STATES: Final = ("waiting", "scheduled", "deferred", "reserved", "failed")
POLLS_TO_OBLIVION: Final = 3
"""What nobody has read again for so many times is shown no longer."""
POLLED_KEPT_SECONDS: Final = 7 * 86_400
"""That a broker is read no longer must be seen by whoever looks after a long weekend."""
_SCRIPT: Final = script.read("queues.lua")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Jobs of one queue as its broker counts them."""

    engine: str
    queue: str
    jobs: Mapping[str, int]
    """By state; what the broker does not tell is left out."""
    oldest_at: float | None = None
    """When the one that waits for longest could start, Unix seconds; None: none, or unknown."""


@dataclass(frozen=True, slots=True)
class Queues:
    """All that is known of them at one moment."""

    depths: tuple[QueueDepth, ...] = ()
    polled_at: Mapping[str, float] = field(default_factory=dict[str, float])
    """By engine, when its broker was last read well: Unix seconds, by the store's clock."""


class QueueDepths:
    """What the server that leads asks and tells. Safe to share between threads."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis: Any = client
        self._keys = Keys(settings.redis.prefix)
        self._configured = settings.queues
        self._has_own_rq = settings.rq.redis_url is not None
        self._holds_ms = int(POLLS_TO_OBLIVION * settings.queues_poll_seconds * 1000)

    def known(self, engine: str) -> list[str]:
        """Names of its queues: of those that jobs were in, that workers serve, of the settings.

        A name of the settings that is another engine's alone is left out; so is any for RQ where
        nothing tells that RQ is in use.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        found: dict[str, dict[str, None]] = {one: {} for one in ENGINES}
        for labels in sorted(map(text, self._redis.hkeys(self._keys.job_series))):
            of, _, rest = labels.partition(SEPARATOR)
            found.setdefault(of, {})[rest.partition(SEPARATOR)[0]] = None
        for worker in workers.read_all(self._redis, self._keys):
            if worker.state != "down":
                found.setdefault(worker.engine, {}).update(dict.fromkeys(sorted(worker.queues)))
        own = found[engine]
        if own or engine != "rq" or self._has_own_rq:
            elsewhere = {name for of, names in found.items() if of != engine for name in names}
            own |= dict.fromkeys(name for name in self._configured if name not in elsewhere)
        return [name for name in own if name not in ("", OTHER)]

    def write(self, token: int, engine: str, depths: Iterable[QueueDepth]) -> bool:
        """What its broker holds now; False: the leader's lease has another token.

        Queues beyond as many as may have series share one.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        told = [
            {"queue": one.queue, "jobs": dict(one.jobs), "oldest_at": one.oldest_at}
            for one in _bounded(depths)
        ]
        return self._run(token, engine, json.dumps(told))

    def fail(self, token: int, engine: str) -> bool:
        """Count that its broker could not be read; False: the leader's lease has another token.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        return self._run(token, engine, "")

    def forget(self, engines: Iterable[str]) -> None:
        """When their brokers were last read: nobody is to read them any more.

        Raises:
            redis.RedisError: The store cannot be asked.
        """
        self._redis.delete(*map(self._keys.queue_polled, engines))

    def _run(self, token: int, engine: str, told: str) -> bool:
        keys = self._keys
        arguments = [
            *(keys.meta, keys.lease(LEADER), keys.recorder_totals),
            *(keys.queue_depth(engine), keys.queue_polled(engine)),
            *(SCHEMA_VERSION, token, engine, told, self._holds_ms, POLLED_KEPT_SECONDS),
        ]
        return _SCRIPT.run(self._redis, 5, arguments) > 0


def read(server: Any, keys: Keys) -> Queues:
    """Read the store once.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    names = [keys.queue_depth(engine) for engine in ENGINES]
    names += [keys.queue_polled(engine) for engine in ENGINES]
    values: Sequence[bytes | None] = server.mget(names)
    bodies, polled = values[: len(ENGINES)], values[len(ENGINES) :]
    return Queues(
        tuple(
            one
            for engine, body in zip(ENGINES, bodies, strict=True)
            for one in _depths(engine, body)
        ),
        {
            engine: number(at) / 1000
            for engine, at in zip(ENGINES, polled, strict=True)
            if at is not None
        },
    )


def _bounded(depths: Iterable[QueueDepth]) -> list[QueueDepth]:
    found: dict[str, QueueDepth] = {}
    for one in depths:
        name = text(label(one.queue))
        if name not in found and len(found) >= MOST_QUEUES:
            name = OTHER
        same = found.get(name)
        if same is None:
            found[name] = QueueDepth(one.engine, name, one.jobs, one.oldest_at)
            continue
        ages = [at for at in (same.oldest_at, one.oldest_at) if at is not None]
        states = {**same.jobs, **one.jobs}
        jobs = {state: same.jobs.get(state, 0) + one.jobs.get(state, 0) for state in states}
        found[name] = QueueDepth(one.engine, name, jobs, min(ages, default=None))
    return list(found.values())


def _depths(engine: str, body: bytes | None) -> Iterable[QueueDepth]:
    try:
        told: object = json.loads(body or b"[]")
    except (ValueError, RecursionError):
        return
    for one in cast("list[object]", told) if isinstance(told, list) else ():
        said = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
        queue, jobs = said.get("queue"), said.get("jobs")
        if isinstance(queue, str) and isinstance(jobs, dict):
            counts = cast("dict[str, object]", jobs)
            known = {state: number(counts[state]) for state in STATES if state in counts}
            yield QueueDepth(engine, queue, known, unix_time(said.get("oldest_at")))
