"""RQ's two schedulers: ``rq cron``, and the one that a worker starts ``--with-scheduler``.

The first has entries, each of which starts a run as often as it fires. The second hands over
jobs that were published with a time of their own: those keep the run they were published in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

from jobmon.instrument.entries import EntryRun, name_of, schedule_text
from jobmon.instrument.guard import thrown_in
from jobmon.instrument.patches import Hook, Patches
from jobmon.instrument.schedulers import Entry, Scheduler, unix

ENGINE: Final = "rq"
CRON: Final = "cron"
SCHEDULED: Final = "scheduled"

_ATTRIBUTE: Final = "_jobmon_scheduler"
_FAR_SECONDS: Final = 366 * 86_400.0
"""RQ says *never* with a date beyond."""

_patches: Final = Patches()
_firing_for: Scheduler | None = None
"""The cron scheduler whose loop turns; a process has one."""


class _Firing(NamedTuple):
    scheduler: Scheduler | None
    run: EntryRun


def install_cron() -> None:
    """Hook ``rq cron``, which is new in RQ 2.4."""
    cron: Any = import_module("rq.cron")
    _patches.wrap([cron.CronScheduler], _CRON_HOOKS)
    _patches.wrap([cron.CronJob], [Hook("enqueue", _firing, _fired)])


def install_scheduler() -> None:
    """Hook the scheduler of workers."""
    scheduler: Any = import_module("rq.scheduler")
    _patches.wrap([scheduler.RQScheduler], _SCHEDULER_HOOKS)


def uninstall() -> None:
    """Give RQ its methods back; a scheduler that runs is beaten for until its process ends."""
    _patches.undo()


def _own(scheduler: Any) -> Scheduler | None:
    """The scheduler as it is known here, once its loop has begun in this process."""
    found = scheduler.__dict__.get(_ATTRIBUTE)
    return found[1] if found is not None and found[0] == os.getpid() else None


def _begin(scheduler: Any, kind: str, name: str, about: dict[str, object]) -> Any:
    own = Scheduler(ENGINE, kind, name_of(name), about)
    # Names the process: a worker pickles or forks its scheduler along.
    scheduler.__dict__[_ATTRIBUTE] = (os.getpid(), own)
    own.live()
    return scheduler


def _ended(scheduler: Any, _: Any, error: BaseException | None) -> None:
    if scheduler is None or (error is not None and not thrown_in(error)):
        return
    own = _own(scheduler)
    if own is not None:
        del scheduler.__dict__[_ATTRIBUTE]
        own.leave()


# rq cron


def _starting(cron: Any, *_: Any, **__: Any) -> Any:
    kind: type = cron.__class__
    _patches.wrap([kind], _CRON_HOOKS)
    about: dict[str, object] = {"class": _class(cron), "file": getattr(cron, "config_file", "")}
    name: str = getattr(cron, "name", "")
    # Its own name for itself is another after each start, and would be another series.
    return _begin(cron, CRON, "rq cron" if not name or f":{os.getpid()}:" in name else name, about)


def _enqueuing(cron: Any, *_: Any, **__: Any) -> None:
    global _firing_for
    own = _firing_for = _own(cron)
    if own is not None:
        own.turn()


def _planned(cron: Any, seconds: Any, error: BaseException | None) -> None:
    own = _own(cron)
    if own is None or error is not None:
        return
    own.wait(seconds)
    if own.must_read():
        with own.reading():
            jobs: list[Any] = list(cron._cron_jobs)
            own.shows(_entries(jobs), len(jobs))


def _entries(jobs: list[Any]) -> Iterator[Entry]:
    # A cron line's fields are in local time since RQ 3, in UTC before.
    version: str = import_module("rq").VERSION
    zone = "UTC" if version.startswith(("1.", "2.")) else _local_zone()
    for job in jobs:
        times = _times(job)
        yield Entry(
            _name(job),
            _function(job),
            _schedule(job),
            zone if getattr(job, "cron", None) else "",
            name_of(job.queue_name),
            times.next_due_at,
            times.latest_at,
        )


def _local_zone() -> str:
    """Name of this machine's time zone: IANA's, where the machine says it, as `CEST` is none."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if "/" in name and not name.startswith("/"):
        return name
    _, is_known, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return name if is_known and not os.environ.get("TZ") else time.strftime("%Z")


def _firing(job: Any, *_: Any, **__: Any) -> _Firing:
    run = EntryRun(_name(job), CRON, _schedule(job), _times(job).due_at)
    run.send()
    return _Firing(_firing_for, run)


def _fired(firing: _Firing | None, job: Any, error: BaseException | None) -> None:
    if firing is None:
        return
    job_id = getattr(job, "id", None)
    firing.run.sent(job_id if isinstance(job_id, str) else "", error)
    if firing.scheduler is not None:
        firing.scheduler.fired(firing.run)


class _Times(NamedTuple):
    """Unix seconds; None where there is no such moment."""

    due_at: float
    """By now."""
    next_due_at: float | None
    latest_at: float | None
    """When it was sent last."""


def _times(job: Any) -> _Times:
    next_at, latest_at = _time(job, "next"), _time(job, "latest")
    now = time.time()
    if next_at is not None and next_at > now + _FAR_SECONDS:
        next_at = None
    if next_at is None and latest_at is None:  # an interval begins at once
        next_at = now
    return _Times(min(now, next_at or now), next_at, latest_at)


def _time(job: Any, which: str) -> float | None:
    # A run time, in the first versions.
    return unix(getattr(job, f"{which}_enqueue_time", getattr(job, f"{which}_run_time", None)))


def _name(job: Any) -> str:
    return name_of(getattr(job, "name", "") or _function(job))


def _function(job: Any) -> str:
    name = getattr(job, "func_name", "")
    return name_of(name or f"{job.func.__module__}.{job.func.__name__}")


def _schedule(job: Any) -> str:
    cron = getattr(job, "cron", None)
    return schedule_text(cron or f"every {job.interval} s")


# The scheduler of workers


def _working(scheduler: Any, *_: Any, **__: Any) -> Any:
    kind: type = scheduler.__class__
    _patches.wrap([kind], _SCHEDULER_HOOKS)
    return _begin(scheduler, SCHEDULED, "rq scheduler", {"class": _class(scheduler)})


def _turning(scheduler: Any, *_: Any, **__: Any) -> Any:
    own = _own(scheduler)
    if own is not None:
        own.turn()
    return scheduler


def _turned(scheduler: Any, _: Any, error: BaseException | None) -> None:
    if scheduler is None or error is not None:
        return
    own = _own(scheduler)
    if own is None:
        return
    own.wait(scheduler.interval)
    if own.must_read():
        with own.reading():
            own.about["queues"] = sorted(scheduler.acquired_locks)
            count, due_at = _scheduled(scheduler._scheduled_job_registries)
            own.about["jobs"] = count
            own.shows((), 0, due_at)


def _scheduled(registries: Iterable[Any]) -> tuple[int, float | None]:
    """How many jobs wait for their time in the queues it serves, and the first of these times."""
    count, first = 0, None
    for registry in registries:
        with registry.connection.pipeline(transaction=False) as pipe:
            pipe.zcard(registry.key)
            pipe.zrange(registry.key, 0, 0, withscores=True)
            size, soonest = pipe.execute()
        count += size
        for _, score in soonest:
            first = score if first is None else min(first, score)
    return count, first


def _class(scheduler: Any) -> str:
    return f"{type(scheduler).__module__}.{type(scheduler).__qualname__}"


_CRON_HOOKS: Final = (
    Hook("start", _starting, _ended),
    Hook("enqueue_jobs", _enqueuing),
    Hook("calculate_sleep_interval", after=_planned),
)
_SCHEDULER_HOOKS: Final = (
    Hook("work", _working, _ended),
    Hook("heartbeat", _turning, _turned),
    Hook("enqueue_scheduled_jobs", _turning, _turned),
)
