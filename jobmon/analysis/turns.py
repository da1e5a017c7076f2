"""One command's turn in an evaluation: all that is to be known of it before any is settled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from jobmon.analysis.bounds import Lesson, learn
from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.evaluation import MOST_NEW, Answer, evaluate
from jobmon.analysis.missed import Expectation, expected
from jobmon.analysis.overdue import overdue
from jobmon.analysis.runs import Runs
from jobmon.analysis.schedules import Told, told
from jobmon.analysis.wishes import Wishes
from jobmon.history.incidents import Incident
from jobmon.history.runs import CommandKey, Judged, RunValues, Window
from jobmon.store.schedules import ScheduleEntry, Schedules
from jobmon.store.state import CommandRun

if TYPE_CHECKING:
    from jobmon.store.reader import Reader
    from jobmon.store.sync_state import SyncState

_MOST_RUNNING: Final = 10_000


class Moment(NamedTuple):
    """What the store tells, the same for all commands of an evaluation."""

    now: float
    """By its clock, in Unix seconds."""
    at: datetime
    """The same."""
    seen_until: float
    """Runs that started before are in the history, or have not ended."""
    running: Mapping[CommandKey, Sequence[CommandRun]]
    schedules: Mapping[tuple[str, str], Schedules]
    """What schedulers tell, by application and command."""
    schedulers: Schedules
    """They alone."""

    def open_runs(self, key: CommandKey) -> list[CommandRun]:
        """Those of a command whose start is known."""
        return [one for one in self.running.get(key, ()) if one.started_at is not None]

    def zone(self, key: CommandKey, wanted: Wishes) -> tzinfo:
        """Of a command's hours and weekdays."""
        return wanted.zone if wanted.is_own_zone else self.told(key).zone or wanted.zone

    def told(self, key: CommandKey, *, was_scheduled: bool = False) -> Told:
        """What they tell of a command."""
        own = self.schedules.get((key.app, key.command), self.schedulers)
        return told(own, key.command, key.app, was_scheduled=was_scheduled)


class Overdue(NamedTuple):
    """A run that has not ended in time."""

    check: Check
    process_id: str
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What is kept of one command until all are judged."""

    key: CommandKey
    wishes: Wishes
    incidents: Sequence[Incident]
    """That go on, or may come back."""
    runs: int
    """That have ended before the newest."""
    is_enough: bool
    """So that the newest could be judged."""
    answers: Sequence[Answer]
    """The oldest run first; without those in which nothing matters."""
    p_values: Sequence[float]
    """Of every test that was made."""
    judged: Sequence[Judged]
    expectation: Expectation | None
    """The start that is awaited; None: none is."""
    last_start: int | str | None
    """Row of the last run, or its id where it runs; None: there is none."""
    was_unscheduled: bool
    """A run that a scheduler started has no successor: its entry was taken out."""
    overdue: Sequence[Overdue]
    overdue_at: Mapping[str, float]
    """When each run that has not ended takes too long, by its id."""
    leftover_before: float | None
    """Runs that started before are new, but too old to be judged; None: there are none."""
    lesson: Lesson | None
    """What its runs teach; None: nobody asked, or there are none."""

    @property
    def rows(self) -> set[int]:
        """Numbers of the runs of which more must be known."""
        found = {one.row_id for one in self.answers}
        is_missed = self.expectation is not None and self.expectation.is_missed
        was_missed = any(one.anomaly_type == Kind.MISSED_EXECUTION for one in self.incidents)
        if isinstance(self.last_start, int) and (is_missed or was_missed or self.was_unscheduled):
            found.add(self.last_start)
        return found

    def knowing(self, values: Mapping[int, RunValues]) -> Turn:
        """The same, with no start awaited where its schedule was taken out."""
        last = values.get(self.last_start) if isinstance(self.last_start, int) else None
        if not self.was_unscheduled or last is None or last.source != "schedule":
            return self
        return replace(self, expectation=None)

    @property
    def due_at(self) -> float:
        """When to look again whether a start is missing, in Unix seconds."""
        awaited = self.expectation
        if awaited is None:
            return math.inf
        if not awaited.is_missed:
            return awaited.late_at
        return max(awaited.late_at, awaited.judged_at) + awaited.interval_seconds


def moment(store: Reader) -> Moment:
    """This one.

    Raises:
        redis.RedisError: The store cannot be asked.
    """
    # In this order: of what ends meanwhile it is known that it ran, or not yet that it began.
    state = store.sync_state()
    running: dict[CommandKey, list[CommandRun]] = {}
    for run in store.running_commands(_MOST_RUNNING)[0]:
        key = CommandKey(str(run.data.get("app", "default")), run.environment, run.command)
        running.setdefault(key, []).append(run)
    said = store.schedules()
    entries: dict[tuple[str, str], list[ScheduleEntry]] = {}
    for entry in said.entries:
        entries.setdefault((entry.app, entry.name), []).append(entry)
    return Moment(
        now=state.now,
        at=datetime.fromtimestamp(state.now, UTC),
        seen_until=_seen_until(state),
        running=running,
        schedules={key: replace(said, entries=tuple(own)) for key, own in entries.items()},
        schedulers=replace(said, entries=()),
    )


def turn(
    this: Moment,
    window: Window,
    queue_times: Mapping[str, float],
    incidents: Sequence[Incident],
    wanted: Wishes,
    *,
    looks_for_missed: bool,
    learns: bool = False,
    most_new: int = MOST_NEW,
) -> Turn:
    """Judge one command.

    Args:
        this: The moment.
        window: Its runs.
        queue_times: Of runs that are new, by their ids: mean seconds in a queue.
        incidents: That go on, or may come back.
        wanted: Of it.
        looks_for_missed: Whether a start may be missing.
        learns: Whether bounds are learned of its runs.
        most_new: New runs that are judged.
    """
    key = window.key
    running = this.open_runs(key)
    zone = this.zone(key, wanted)
    found = evaluate(window, queue_times, incidents, wanted.thresholds, zone, most_new)
    starts = _starts(window, running)
    names: list[int | str] = [*window.ids, *(one.process_id for one in running)]
    awaited = expectation(this, window, wanted) if looks_for_missed else None
    late = [_late(run, found.runs, this.now, wanted) for run in running]
    return Turn(
        key=key,
        wishes=wanted,
        incidents=incidents,
        runs=max(0, len(found.runs) - 1),
        is_enough=found.is_enough,
        answers=[one for one in found.answers if one.checks],
        p_values=found.p_values,
        judged=found.judged,
        expectation=awaited,
        last_start=names[int(np.argmax(starts))] if starts else None,
        was_unscheduled=wanted.schedule is None and this.told(key, was_scheduled=True).is_off,
        overdue=[one for one, _ in late if one is not None],
        overdue_at={run.process_id: at for run, (_, at) in zip(running, late, strict=True)},
        leftover_before=_leftover(window),
        lesson=learn(found.runs, wanted.thresholds) if learns and len(found.runs) else None,
    )


def expectation(this: Moment, window: Window, wanted: Wishes) -> Expectation | None:
    """Which start is awaited; None: none is."""
    running = this.open_runs(window.key)
    starts = _starts(window, running)
    declared = Told((wanted.schedule,), "cron") if wanted.schedule else this.told(window.key)
    if declared.is_off or not starts:
        return None
    return expected(
        np.array(starts),
        this.now,
        schedules=declared.schedules,
        source=declared.source,
        margin_seconds=wanted.start_margin_seconds,
        zone=this.zone(window.key, wanted),
        silence_seconds=wanted.silence_seconds,
        seen_until=this.seen_until,
        is_running=bool(running),
        ended_at=_ended_at(window),
        next_starts=window.next_starts,
    )


def _starts(window: Window, running: Sequence[CommandRun]) -> list[float]:
    return [*window.numbers[:, 0], *(one.started_at or 0.0 for one in running)]


def _ended_at(window: Window) -> float | None:
    """When the last run that has ended did."""
    if not len(window.numbers):
        return None
    started_at, _, duration, *_ = window.numbers[-1].tolist()
    return started_at + duration if math.isfinite(duration) else None


def _late(
    run: CommandRun, history: Runs, now: float, wanted: Wishes
) -> tuple[Overdue | None, float]:
    """Whether a run takes too long, and when to look at it again."""
    started_at = run.started_at or 0.0
    check = overdue(history, started_at, now, wanted.maximum_run_time_seconds)
    if check is None:
        return None, math.inf
    trace_id = run.data.get("trace_id")
    known = Overdue(check, run.process_id, trace_id if isinstance(trace_id, str) else None)
    return known if check.is_anomaly else None, started_at + check.baseline.high


def _leftover(window: Window) -> float | None:
    if not window.is_full or not window.unjudged:
        return None
    oldest = int(np.flatnonzero(window.is_drained)[0])
    return float(window.numbers[0, 0]) if window.unjudged[0].place == oldest else None


def _seen_until(state: SyncState) -> float:
    """All that had happened by then is in the history, or still runs."""
    if not state.unsynced:
        return state.now
    if state.succeeded_at is None:
        return -math.inf
    return state.succeeded_at - (state.duration or 0.0)
