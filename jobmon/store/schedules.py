"""Schedulers and the entries of their schedules, as last told. Trusts nothing it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from jobmon.store.members import decoded, finite, text
from jobmon.store.series import SEPARATOR

if TYPE_CHECKING:
    from jobmon.store.keys import Keys

SILENT_SECONDS: Final = 60.0
"""Without a turn of its loop, a scheduler is down."""
LATE_SECONDS: Final = 60.0
"""After it was due, an entry is late."""
_BEATS_TO_SILENCE: Final = 3
_BEATS_TO_OBLIVION: Final = 30
"""Every entry of a live scheduler is told again within fewer beats than these."""
_OBLIVION_SECONDS: Final = 900.0
_CELERYS: Final = "celery."
"""Begins the names of entries that beat adds to any schedule."""


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """One scheduler. Times are Unix seconds, None while unknown."""

    id: str
    engine: str
    kind: str
    """``beat``, ``cron`` or ``scheduled``."""
    name: str
    hostname: str
    pid: int
    up: bool
    """Its loop turns, or sleeps as it said it would."""
    last_seen_at: float
    """When it last did, by the store's clock."""
    started_at: float | None
    last_turn_at: float | None
    next_due_at: float | None
    entries: int | None
    """How many there are, shown or not; None for a scheduler without entries."""
    queues: tuple[str, ...]
    """That RQ's scheduler holds the locks of."""


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """One entry of a schedule. Times are Unix seconds, None while unknown."""

    engine: str
    kind: str
    """Of its scheduler."""
    name: str
    job_name: str
    schedule: str
    timezone: str
    queue: str
    state: str
    """``ok``, ``late``, ``failed`` (it could not be sent), ``disabled``, or ``down`` (its scheduler
    is)."""
    late_seconds: float
    """How long ago it should have been sent; 0 when it is not late."""
    next_due_at: float | None
    last_due_at: float | None
    last_sent_at: float | None
    last_run_id: str | None
    sent_count: int | None
    error: str | None
    """What kept it from being sent the last time."""
    scheduler_id: str
    scheduler_up: bool
    app: str = "default"
    """Setting `app` of its scheduler."""


@dataclass(frozen=True, slots=True)
class Schedules:
    """All schedulers and entries at one moment."""

    schedulers: tuple[SchedulerState, ...] = ()
    entries: tuple[ScheduleEntry, ...] = ()


class _Scheduler:
    """One as told, with what its entries are judged by."""

    def __init__(self, id: str, said: Mapping[str, Any], seen_at: float, now: float) -> None:  # noqa: A002
        every = finite(said.get("beats_every")) or 0.0
        self.up = now - seen_at <= max(SILENT_SECONDS, _BEATS_TO_SILENCE * every)
        self.oblivion = max(_OBLIVION_SECONDS, _BEATS_TO_OBLIVION * every)
        self.as_of = finite(said.get("as_of")) or now
        self.app = text(said.get("app"))
        self.lineage = text(said.get("lineage"))
        queues: object = said.get("queues")
        pid, entries = finite(said.get("pid")), finite(said.get("entries"))
        self.state: Final = SchedulerState(
            id=id,
            engine=text(said.get("engine")),
            kind=text(said.get("kind")),
            name=text(said.get("name")),
            hostname=text(said.get("hostname")),
            pid=int(pid or 0),
            up=self.up,
            last_seen_at=seen_at,
            started_at=finite(said.get("started_at")),
            last_turn_at=finite(said.get("last_turn_at")),
            next_due_at=finite(said.get("next_due_at")),
            entries=None if entries is None else int(entries),
            queues=tuple(map(str, cast("list[object]", queues)))
            if isinstance(queues, list)
            else (),
        )

    def has_told_all(self, entries: int, now: float) -> bool:
        """Whether it is up, and so many are all that its schedule has, or will ever be told."""
        count, started_at = self.state.entries, self.state.started_at
        if not self.up or count is None:
            return False
        return entries >= count or now - (started_at or now) > self.oblivion


class _Told(NamedTuple):
    """One entry as told."""

    seen_at: float
    lineage: str
    """Of its scheduler, which may be known no longer."""
    entry: ScheduleEntry


def read(server: Any, keys: Keys) -> Schedules:
    """Read the store once.

    An entry that several schedulers tell of belongs to those that are up; where none is, to the
    one seen last. A scheduler that is down is left out once others have taken all its entries.
    What one had that has ended is left out, too, once its successor has told all it has: it was
    taken out of the schedule, or has another name now.

    Raises:
        redis.RedisError: The store cannot be read.
    """
    pipeline = server.pipeline(transaction=False)
    pipeline.time()
    pipeline.hgetall(keys.schedulers)
    pipeline.zrange(keys.scheduler_beats, 0, -1, withscores=True)
    pipeline.hgetall(keys.schedules)
    pipeline.zrange(keys.schedules_seen, 0, -1, withscores=True)
    (seconds, micros), bodies, beats, entries, seen = pipeline.execute()
    now = seconds + micros / 1_000_000
    schedulers: dict[str, _Scheduler] = {}
    for raw, beat_ms in beats:
        said = decoded(bodies.get(raw))
        if said is not None:
            name = text(raw)
            schedulers[name] = _Scheduler(name, said, beat_ms / 1000, now)
    told: dict[str, list[_Told]] = defaultdict(list)
    for raw, seen_ms in seen:
        said = decoded(entries.get(raw))
        scheduler_id, _, _ = text(raw).partition(SEPARATOR)
        owner = schedulers.get(scheduler_id)
        if said is None or (
            owner is not None and owner.up and now - seen_ms / 1000 > owner.oblivion
        ):
            continue
        entry = _entry(said, scheduler_id, owner, now)
        told[scheduler_id].append(_Told(seen_ms / 1000, text(said.get("lineage")), entry))
    superseded = _succeeded(told, schedulers, now)
    alike: dict[tuple[str, str, str], list[_Told]] = defaultdict(list)
    for one in (one for id_, its in told.items() if id_ not in superseded for one in its):
        alike[one.entry.app, one.entry.engine, one.entry.name].append(one)
    shown: list[ScheduleEntry] = []
    for same in alike.values():
        chosen = [one.entry for one in same if one.entry.scheduler_up]
        chosen = chosen or [max(same, key=lambda one: one.seen_at).entry]
        shown += chosen
        superseded |= {one.entry.scheduler_id for one in same if one.entry not in chosen}
    superseded -= {entry.scheduler_id for entry in shown}
    return Schedules(
        tuple(
            sorted(
                (
                    one.state
                    for one in schedulers.values()
                    if one.up or not _is_superseded(one, superseded, schedulers.values())
                ),
                key=lambda one: (one.engine, one.kind, one.name, one.id),
            )
        ),
        tuple(sorted(shown, key=lambda one: (one.name, one.engine, one.scheduler_id))),
    )


def _succeeded(
    told: Mapping[str, Sequence[_Told]], schedulers: Mapping[str, _Scheduler], now: float
) -> set[str]:
    """Ids of those that ended and whose schedule another process runs now, as it is now."""
    successors = [
        (one, {its.entry.name for its in told.get(id_, ())})
        for id_, one in schedulers.items()
        if one.lineage and one.has_told_all(len(told.get(id_, ())), now)
    ]
    return {
        id_
        for id_, entries in told.items()
        if not entries[0].entry.scheduler_up
        and any(_succeeds(one, names, entries) for one, names in successors)
    }


def _succeeds(one: _Scheduler, names: set[str], ended: Sequence[_Told]) -> bool:
    own = {name for name in names if not name.startswith(_CELERYS)}
    # One without entries of its own may have been given the wrong configuration.
    if one.lineage != ended[0].lineage or not own:
        return False
    # In a rolling deploy it starts before the other ends. Two that were up together and have no
    # entry in common may be of two schedules that nothing else tells apart.
    is_later = (one.state.started_at or 0.0) > max(its.seen_at for its in ended)
    return is_later or any(its.entry.name in own for its in ended)


def _is_superseded(
    down: _Scheduler, superseded: set[str], schedulers: Iterable[_Scheduler]
) -> bool:
    if down.state.entries:
        return down.state.id in superseded
    alike = [
        one.state
        for one in schedulers
        if one.up
        and (one.app, one.state.engine, one.state.kind)
        == (down.app, down.state.engine, down.state.kind)
    ]
    served = {queue for one in alike for queue in one.queues}
    return bool(alike) and served.issuperset(down.state.queues)


def _entry(
    said: Mapping[str, Any], scheduler_id: str, owner: _Scheduler | None, now: float
) -> ScheduleEntry:
    up = owner is not None and owner.up
    enabled = said.get("enabled") is not False
    due_at = finite(said.get("next_due_at"))
    # What is known of a schedule is some seconds old: only its own moment can judge it.
    moment = owner.as_of if up and owner is not None else now
    late = max(0.0, moment - due_at) if enabled and due_at is not None else 0.0
    error = text(said.get("error"))
    if not enabled:
        state = "disabled"
    elif not up:
        state = "down"
    elif late > LATE_SECONDS:
        state = "late"
    else:
        state = "failed" if error else "ok"
    count = finite(said.get("sent_count"))
    return ScheduleEntry(
        engine=text(said.get("engine")),
        kind=text(said.get("kind")),
        name=text(said.get("name")),
        job_name=text(said.get("job_name")),
        schedule=text(said.get("schedule")),
        timezone=text(said.get("timezone")),
        queue=text(said.get("queue")),
        state=state,
        late_seconds=late if late > LATE_SECONDS else 0.0,
        next_due_at=due_at,
        last_due_at=finite(said.get("last_due_at")),
        last_sent_at=finite(said.get("last_sent_at")),
        last_run_id=text(said.get("last_run_id")) or None,
        sent_count=None if count is None else int(count),
        error=error or None,
        scheduler_id=scheduler_id,
        scheduler_up=up,
        app=text(said.get("app")),
    )
