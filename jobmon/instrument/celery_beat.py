"""Celery beat: the ticks of its scheduler, the entries it knows, and what it sends.

The hooks are around the three methods that every scheduler has, in whatever class they are
written: RedBeat has a ``tick`` of its own, django-celery-beat a schedule of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from importlib import import_module
from itertools import islice
from typing import Any, Final, NamedTuple, cast

from jobmon.instrument.entries import EntryRun, name_of, schedule_text
from jobmon.instrument.guard import guarded, thrown_in
from jobmon.instrument.patches import Hook, Patches
from jobmon.instrument.schedulers import MOST_ENTRIES, Entry, Scheduler, unix

ENGINE: Final = "celery"
KIND: Final = "beat"

_ATTRIBUTE: Final = "_jobmon_scheduler"
_REDBEAT_CHUNK: Final = 200
_FAR_SECONDS: Final = 366 * 86_400.0
"""Schedulers say *never* with a date beyond."""

_patches: Final = Patches()


class _Firing(NamedTuple):
    scheduler: Scheduler
    run: EntryRun


def install() -> None:
    """Hook every scheduler of this process, those embedded in workers too."""
    beat: Any = import_module("celery.beat")
    _patches.wrap([beat.Scheduler], _SCHEDULER_HOOKS)
    _patches.wrap([beat.Service], [Hook("get_scheduler", after=_found)])


def uninstall() -> None:
    """Give Celery its methods back; a scheduler that runs is beaten for until its process ends."""
    _patches.undo()


def _found(_: Any, scheduler: Any, error: BaseException | None) -> None:
    """A service has made its scheduler: hook what that one's classes override."""
    if error is None:
        kind: type = scheduler.__class__
        _patches.wrap([kind], _SCHEDULER_HOOKS)


def _turning(beat: Any, *_: Any, **__: Any) -> tuple[Any, Scheduler]:
    own = beat.__dict__.get(_ATTRIBUTE)
    if own is None:
        about = {"class": f"{type(beat).__module__}.{type(beat).__qualname__}"}
        own = Scheduler(ENGINE, KIND, _name(beat), about)
        beat.__dict__[_ATTRIBUTE] = own
        own.live()
    own.turn()
    return beat, own


def _turned(state: tuple[Any, Scheduler] | None, seconds: Any, error: BaseException | None) -> None:
    if state is None or error is not None:
        return
    beat, own = state
    own.wait(seconds)
    if own.must_read():
        with own.reading():
            own.about["max_interval"] = beat.max_interval
            entries, count = _entries(beat)
            own.shows(entries, count)


def _closing(beat: Any, *_: Any, **__: Any) -> None:
    own = beat.__dict__.get(_ATTRIBUTE)
    error = sys.exc_info()[1]
    # Closed by an error it did not end as it should: in a thread of a worker its process lives on.
    if own is not None and (error is None or thrown_in(error)):
        del beat.__dict__[_ATTRIBUTE]
        own.leave()


def _firing(beat: Any, entry: Any, *_: Any, **__: Any) -> _Firing | None:
    own = beat.__dict__.get(_ATTRIBUTE)
    if own is None:
        return None
    schedule = entry.schedule
    remaining = _remaining_seconds(schedule, entry.last_run_at)
    now = time.time()
    due_at = now if remaining is None else min(now, now + remaining)
    run = EntryRun(name_of(entry.name), KIND, _text(schedule), due_at)
    run.send()
    return _Firing(own, run)


def _fired(firing: _Firing | None, result: Any, error: BaseException | None) -> None:
    if firing is None:
        return
    if error is None and _is_eager(result) and isinstance(result.result, BaseException):
        error = result.result
    job_id = getattr(result, "id", None)
    firing.run.sent(job_id if isinstance(job_id, str) else "", error)
    firing.scheduler.fired(firing.run)


def _is_eager(result: Any) -> bool:
    # Asking any other for its state would ask its backend.
    eager: Any = import_module("celery.result").EagerResult
    return isinstance(result, eager)


def _name(beat: Any) -> str:
    return name_of(getattr(beat.app, "main", None) or "celery")


# What a scheduler knows.


def _entries(beat: Any) -> tuple[Iterable[Entry], int]:
    """The entries of a schedule, and how many there are, on the thread of its loop."""
    if hasattr(beat.app, "redbeat_conf") and hasattr(beat, "lock_timeout"):
        return _entries_of_redbeat(beat)
    heap: list[Any] = list(getattr(beat, "_heap", None) or ())
    found = {
        entry.name: _entry(entry, event_at) for event_at, _, entry in islice(heap, MOST_ENTRIES)
    }
    table: Any = getattr(getattr(beat, "Model", None), "objects", None)
    if table is None:
        return found.values(), len(heap)
    return _entries_of_database(table, found)


def _entry(entry: Any, next_due_at: float | None) -> Entry:
    """An entry as Celery's own class has it, with whatever else a subclass knows."""
    model = getattr(entry, "model", entry)
    enabled = bool(getattr(model, "enabled", True))
    count = getattr(entry, "total_run_count", None)
    return Entry(
        name_of(entry.name),
        name_of(entry.task),
        _text(entry.schedule),
        _timezone(entry.schedule),
        _queue(getattr(entry, "options", None)),
        _near(next_due_at) if enabled else None,
        # Celery sets the last run of a new entry to now.
        unix(entry.last_run_at) if count else None,
        enabled,
        count if isinstance(count, int) else None,
    )


def _entries_of_database(table: Any, loaded: dict[Any, Entry]) -> tuple[Iterable[Entry], int]:
    """django-celery-beat: its scheduler loads only what is due within hours."""
    rows: Any = table.select_related("interval", "crontab", "solar", "clocked")
    found: list[Entry] = []
    for row in rows.order_by("name")[: MOST_ENTRIES + 1]:
        entry = loaded.get(row.name) if row.enabled else None
        entry = entry or guarded(_database_entry)(row)
        if entry is not None:
            found.append(entry)
    return found, len(found) if len(found) <= MOST_ENTRIES else table.count()


def _database_entry(row: Any) -> Entry:
    remaining = _remaining_seconds(row.schedule, row.last_run_at or row.date_changed)
    return _entry(row, None if remaining is None else time.time() + max(0.0, remaining))


def _entries_of_redbeat(beat: Any) -> tuple[Iterable[Entry], int]:
    """RedBeat: its scheduler loads only what is due; the rest stands in its own Redis."""
    client: Any = import_module("redbeat.schedulers").get_redis(beat.app)
    keys = client.zrange(beat.app.redbeat_conf.schedule_key, 0, MOST_ENTRIES, withscores=True)
    found: list[Entry] = []
    for start in range(0, len(keys), _REDBEAT_CHUNK):
        chunk = keys[start : start + _REDBEAT_CHUNK]
        with client.pipeline(transaction=False) as pipe:
            for key, _ in chunk:
                pipe.hmget(key, "definition", "meta")
            stored = pipe.execute()
        for (_, score), (definition, meta) in zip(chunk, stored, strict=True):
            entry = guarded(_redbeat_entry)(beat, definition, meta, score)
            if entry is not None:
                found.append(entry)
    if len(keys) <= MOST_ENTRIES:
        return found, len(keys)
    return found, client.zcard(beat.app.redbeat_conf.schedule_key)


def _redbeat_entry(beat: Any, definition: Any, meta: Any, score: float) -> Entry | None:
    if not definition:
        return None
    kind = beat.Entry
    members = kind.decode_definition(definition) | kind.decode_meta(meta)
    last_run_at = members.get("last_run_at")
    entry = kind(app=beat.app, **members)
    entry.last_run_at = last_run_at
    shown = _entry(entry, score if score > 0 else None)
    return shown._replace(last_sent_at=unix(last_run_at))


def _queue(options: Any) -> str:
    known = cast("dict[str, Any]", options) if isinstance(options, dict) else {}
    queue = known.get("queue")
    return name_of(queue) if queue else ""


def _near(moment: float | None) -> float | None:
    """A moment, unless it means *never*."""
    return moment if moment is not None and moment < time.time() + _FAR_SECONDS else None


def _remaining_seconds(schedule: Any, last_run_at: Any) -> float | None:
    """Time until a schedule is due after its last run, below 0 where it is late."""
    try:
        return float(schedule.remaining_estimate(last_run_at).total_seconds())
    except Exception as error:
        if thrown_in(error):
            raise
        return None


def _text(schedule: Any) -> str:
    """A schedule as people write it: five fields, or words."""
    try:
        return schedule_text(_words(schedule))
    except Exception as error:
        if thrown_in(error):
            raise
        return type(schedule).__qualname__


def _words(schedule: Any) -> str:
    schedules: Any = import_module("celery.schedules")
    if isinstance(schedule, schedules.crontab):
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return " ".join(str(getattr(schedule, f"_orig_{field}")) for field in fields)
    if isinstance(schedule, schedules.solar):
        return f"{schedule.event} at {schedule.lat}, {schedule.lon}"
    if isinstance(schedule, schedules.schedule):
        return f"every {schedule.run_every.total_seconds():g} s"
    if hasattr(schedule, "clocked_time"):
        return f"once at {schedule.clocked_time.isoformat()}"
    return repr(schedule)


def _timezone(schedule: Any) -> str:
    """The zone that a crontab's fields are in."""
    try:
        if isinstance(schedule, import_module("celery.schedules").crontab):
            return schedule_text(schedule.tz)
    except Exception as error:
        if thrown_in(error):
            raise
    return ""


_SCHEDULER_HOOKS: Final = (
    Hook("tick", _turning, _turned),
    Hook("apply_async", _firing, _fired),
    Hook("close", _closing),
)
