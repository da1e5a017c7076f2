"""Schedulers and the entries of their schedules, from the state store alone."""

from __future__ import annotations

from starlette.requests import Request

from jobmon.answers.schedules import Entry, Scheduler
from jobmon.answers.schedules import Schedules as Shown
from jobmon.server.responses import instant
from jobmon.store.reader import Reader
from jobmon.store.schedules import ScheduleEntry, SchedulerState


class Schedules:
    """Handler of ``schedules``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def all(self, _request: Request) -> Shown:
        """Every scheduler, alive or not, and every entry that one of them knows."""
        found = self._reader.schedules()
        return Shown(
            [_scheduler(one) for one in found.schedulers], [_entry(one) for one in found.entries]
        )


def _scheduler(one: SchedulerState) -> Scheduler:
    return Scheduler(
        id=one.id,
        engine=one.engine,
        kind=one.kind,
        name=one.name,
        hostname=one.hostname,
        pid=one.pid,
        up=one.up,
        last_seen_at=instant(one.last_seen_at),
        started_at=instant(one.started_at),
        last_turn_at=instant(one.last_turn_at),
        next_due_at=instant(one.next_due_at),
        entries=one.entries,
        queues=list(one.queues),
    )


def _entry(one: ScheduleEntry) -> Entry:
    return Entry(
        engine=one.engine,
        kind=one.kind,
        name=one.name,
        job_name=one.job_name,
        schedule=one.schedule,
        timezone=one.timezone,
        queue=one.queue,
        state=one.state,
        late_seconds=one.late_seconds,
        next_due_at=instant(one.next_due_at),
        last_due_at=instant(one.last_due_at),
        last_sent_at=instant(one.last_sent_at),
        last_run_id=one.last_run_id,
        sent_count=one.sent_count,
        error=one.error,
        scheduler_id=one.scheduler_id,
        scheduler_up=one.scheduler_up,
    )
