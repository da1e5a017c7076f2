"""Workers as last told. Trusts nothing it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.store.members import decoded, text, unix_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jobmon.store.keys import Keys

SILENT_SECONDS: Final = 60.0
"""Without a beat, a worker is silent: perhaps down, perhaps cut off, perhaps the store was away."""
_BEATS_TO_SILENCE: Final = 3


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker. Times are Unix seconds, None while unknown."""

    id: str
    engine: str
    name: str
    hostname: str
    pid: int
    app: str
    version: str
    """Of the engine."""
    pool: str
    state: str
    """``up``; ``silent``: no beat for a while; ``down``: a server took it for lost."""
    started_at: float | None
    last_seen_at: float
    """By the store's clock."""
    queues: tuple[str, ...]
    slots: int
    """How many jobs it can run at a time."""
    busy: int
    """How many it ran when it was last seen."""
    running: tuple[str, ...]
    """``<process id>/<job id>`` of these, at most 200."""
    resident_memory_bytes: int
    """Of its main process; 0 while unknown."""


def read(server: Any, keys: Keys) -> tuple[WorkerState, ...]:
    """Workers to show.

    One that does not live is left out once another of its name lives on its host.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    found = read_all(server, keys)
    alive = {_place(one) for one in found if one.state == "up"}
    shown = (one for one in found if one.state == "up" or _place(one) not in alive)
    return tuple(sorted(shown, key=lambda one: (one.engine, one.name, one.hostname, one.id)))


def read_all(server: Any, keys: Keys) -> list[WorkerState]:
    """Every worker that the store knows of, read at one moment.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    pipeline = server.pipeline(transaction=False)
    pipeline.time()
    pipeline.hgetall(keys.workers)
    pipeline.zrange(keys.worker_beats, 0, -1, withscores=True)
    pipeline.zrange(keys.lost_workers, 0, -1)
    (seconds, micros), bodies, beats, lost = pipeline.execute()
    now = seconds + micros / 1_000_000
    down = set(lost)
    found: list[WorkerState] = []
    for raw, beat_ms in beats:
        said = decoded(bodies.get(raw))
        if said is not None:
            found.append(_worker(raw, said, beat_ms / 1000, now, down=raw in down))
    return found


def _place(one: WorkerState) -> tuple[str, ...]:
    return one.app, one.engine, one.name, one.hostname


def _worker(
    raw: bytes, said: Mapping[str, Any], seen_at: float, now: float, *, down: bool
) -> WorkerState:
    every = unix_time(said.get("beats_every")) or 0.0
    silent = now - seen_at > max(SILENT_SECONDS, _BEATS_TO_SILENCE * every)
    return WorkerState(
        id=text(raw),
        engine=text(said.get("engine")),
        name=text(said.get("name")),
        hostname=text(said.get("hostname")),
        pid=_count(said.get("pid")),
        app=text(said.get("app")),
        version=text(said.get("version")),
        pool=text(said.get("pool")),
        state="down" if down else "silent" if silent else "up",
        started_at=unix_time(said.get("started_at")),
        last_seen_at=seen_at,
        queues=tuple(_texts(said.get("queues"))),
        slots=_count(said.get("slots")),
        busy=_count(said.get("busy")),
        running=tuple(_texts(said.get("running"))),
        resident_memory_bytes=_count(said.get("resident_memory_bytes"), most=1 << 62),
    )


def _texts(value: object) -> Iterable[str]:
    return map(text, cast("list[object]", value)) if isinstance(value, list) else ()


def _count(value: object, *, most: int = 1 << 31) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value < most else 0
