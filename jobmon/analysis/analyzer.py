"""Evaluates commands: reads their runs, judges, remembers what goes on, and writes what is news."""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from sqlalchemy.exc import DBAPIError

from jobmon.analysis.checks import Kind
from jobmon.analysis.discoveries import limit
from jobmon.analysis.evaluation import evaluate
from jobmon.analysis.judge import ENOUGH
from jobmon.analysis.missed import Expectation, expected
from jobmon.analysis.overdue import overdue
from jobmon.analysis.report import Insufficient, Report
from jobmon.analysis.schedules import told
from jobmon.analysis.settling import Overdue, Settling, Turn
from jobmon.analysis.wishes import Wishes, wishes
from jobmon.history import database
from jobmon.history.fence import Fence
from jobmon.history.incidents import Change, Incident, Incidents
from jobmon.history.runs import COMMANDS, CommandKey, RunReader, Window
from jobmon.history.schema import tables
from jobmon.inert import inert
from jobmon.store.chunks import chunks
from jobmon.store.identity import Identity
from jobmon.store.keys import ANALYSIS
from jobmon.store.reader import Reader
from jobmon.store.schedules import ScheduleEntry, Schedules
from jobmon.store.state import CommandRun

if TYPE_CHECKING:
    import redis
    import sqlalchemy as sa

    from jobmon.settings import Settings
    from jobmon.store.sync_state import SyncState

_MOST_RUNNING: Final = 10_000
_LATE: Final = "not all commands were evaluated: the time was up"
_log: Final = logging.getLogger("jobmon.analysis")


class _Moment(NamedTuple):
    """What is the same for all commands of an evaluation."""

    now: float
    """By the store's clock, in Unix seconds."""
    at: datetime
    seen_until: float
    """All runs that started before are in the history, or run."""
    running: Mapping[CommandKey, Sequence[CommandRun]]
    schedules: Mapping[tuple[str, str], Schedules]
    """What schedulers tell, by application and command."""
    schedulers: Schedules
    """They alone."""

    def schedules_of(self, key: CommandKey) -> Schedules:
        """What they tell of a command."""
        return self.schedules.get((key.app, key.command), self.schedulers)


class _Settled(NamedTuple):
    turn: Turn
    changes: list[Change]


class Analyzer:
    """Judges runs. One per process; calls of it come one after the other.

    What is due next is kept in memory: without an `analyze` before, `analyze_new` knows of new
    runs and of running ones alone.
    """

    def __init__(self, engine: sa.Engine, client: redis.Redis, settings: Settings) -> None:
        """Make one; nothing is asked yet.

        Args:
            engine: Of the history's database.
            client: Of the store.
            settings: ``analyze_mode``.
        """
        own = tables(settings.database.table_prefix)
        fence = Fence(own, ANALYSIS, Identity(client, settings))
        self._engine = engine
        self._reader = RunReader(engine, own)
        self._incidents = Incidents(engine, own, fence)
        self._store = Reader(client, settings)
        self._settings = settings
        self._due_at: dict[CommandKey, float] = {}
        """When a start of a command may be missing."""
        self._overdue_at: dict[str, float] = {}
        """When a running run may take too long."""

    def analyze(
        self,
        token: int,
        *,
        commands: Sequence[str] | None = None,
        record: bool = True,
        deadline: float | None = None,
    ) -> Report:
        """Judge the newest run of every command, and those that nobody has judged yet.

        Args:
            token: Of the lease ``analysis``.
            commands: Names of those that are meant; None: all that ran within
                ``analyze_mode.retention_days``.
            record: False: nothing is written, nobody is told.
            deadline: Of ``time.monotonic``: what is not judged by then is left for the next time.

        Raises:
            DatabaseUnavailable: The database cannot be asked.
            FencedError: Somebody else analyzes by now.
            redis.RedisError: The store cannot be asked.
        """
        moment = self._moment()
        new = set(self._reader.unjudged())
        names = commands
        if names is None:
            known = self._reader.commands(self._since(moment))
            names = sorted({*known, *(key.command for key in new)})
        return self._evaluate(moment, token, names, new, record=record, deadline=deadline)

    def analyze_new(self, token: int, *, deadline: float | None = None) -> Report:
        """Judge the commands that have new runs, a run that takes long, or a start that is due.

        Args, raises: as of `analyze`.
        """
        moment = self._moment()
        due = {key for key, at in self._due_at.items() if at <= moment.now}
        for key, runs in moment.running.items():
            if any(self._overdue_at.get(one.process_id, 0.0) <= moment.now for one in runs):
                due.add(key)
        for key, process_id in self._incidents.open(str(Kind.OVERDUE_RUN)):
            if process_id not in {one.process_id for one in moment.running.get(key, ())}:
                due.add(key)
        new = set(self._reader.unjudged())
        names = sorted({key.command for key in due | new})
        return self._evaluate(
            *(moment, token, names, new),
            only=due | new,
            record=True,
            deadline=deadline,
        )

    def _since(self, moment: _Moment) -> datetime:
        day = moment.at.replace(hour=0, minute=0, second=0, microsecond=0)
        return day - timedelta(days=self._settings.analyze_mode.retention_days)

    def _moment(self) -> _Moment:
        # In this order: what ends meanwhile is seen as running, or as not seen yet.
        state = self._store.sync_state()
        running: dict[CommandKey, list[CommandRun]] = {}
        for run in self._store.running_commands(_MOST_RUNNING)[0]:
            app = str(run.data.get("app", "default"))
            key = CommandKey(app, run.environment, run.command)
            running.setdefault(key, []).append(run)
        said = self._store.schedules()
        entries: dict[tuple[str, str], list[ScheduleEntry]] = {}
        for entry in said.entries:
            entries.setdefault((entry.app, entry.name), []).append(entry)
        return _Moment(
            now=state.now,
            at=datetime.fromtimestamp(state.now, UTC),
            seen_until=_seen_until(state),
            running=running,
            schedules={key: replace(said, entries=tuple(own)) for key, own in entries.items()},
            schedulers=replace(said, entries=()),
        )

    def _evaluate(
        self,
        moment: _Moment,
        token: int,
        names: Sequence[str],
        new: set[CommandKey],
        *,
        only: set[CommandKey] | None = None,
        record: bool,
        deadline: float | None,
    ) -> Report:
        began = time.monotonic()
        report = Report(moment.at)
        p_values = array("d")
        turns: list[Turn] = []
        for some in chunks(names, COMMANDS):
            if deadline is not None and time.monotonic() > deadline:
                report.errors.append(_LATE)
                break
            turns += self._judge(moment, some, new, only, p_values, report)
        report.commands_analyzed = len(turns)
        highest = limit(np.frombuffer(p_values)) if len(p_values) else 0.0
        for some in chunks(turns, COMMANDS):
            self._settle(moment, token, some, highest, report, record=record)
        report.seconds = time.monotonic() - began
        return report

    def _judge(
        self,
        moment: _Moment,
        names: Sequence[str],
        new: set[CommandKey],
        only: set[CommandKey] | None,
        p_values: array[float],
        report: Report,
    ) -> Iterator[Turn]:
        """Judge some commands; of each is kept what concerns an incident, or may become one."""
        wanted = set(names)
        incidents = self._incidents.current(names)
        known: dict[str, set[CommandKey]] = {}
        for key in {*new, *incidents, *moment.running, *self._due_at}:
            if key.command in wanted:
                known.setdefault(key.command, set()).add(key)
        windows: list[Window] = []
        for name, found in self._reader.windows(names, self._since(moment), known):
            if isinstance(found, DBAPIError):
                _fail(report, name, "its runs could not be read", found)
            else:
                windows += (one for one in found if only is None or one.key in only)
        queue_times = self._reader.queue_times(
            one.process_id for window in windows for one in window.unjudged
        )
        for window in windows:
            try:
                theirs = incidents.get(window.key, ())
                yield self._turn(moment, window, queue_times, theirs, new, p_values, report)
            except Exception as error:
                _fail(report, window.key.command, "its runs could not be judged", error)

    def _turn(
        self,
        moment: _Moment,
        window: Window,
        queue_times: Mapping[str, float],
        incidents: Sequence[Incident],
        new: set[CommandKey],
        p_values: array[float],
        report: Report,
    ) -> Turn:
        key = window.key
        running = [one for one in moment.running.get(key, ()) if one.started_at is not None]
        own = wishes(self._settings)
        evaluation = evaluate(window, queue_times, incidents, own.thresholds, own.zone)
        p_values.extend(evaluation.p_values)
        if not evaluation.is_enough:
            runs = max(0, len(evaluation.runs) - 1)
            report.insufficient.append(
                Insufficient(key.command, key.app, key.environment, runs, ENOUGH)
            )
        late: list[Overdue] = []
        for run in running:
            check = overdue(
                *(evaluation.runs, run.started_at or 0.0, moment.now),
                own.maximum_run_time_seconds,
            )
            self._overdue_at[run.process_id] = (
                float("inf") if check is None else (run.started_at or 0.0) + check.baseline.high
            )
            if check is not None and check.is_anomaly:
                trace_id = run.data.get("trace_id")
                trace = trace_id if isinstance(trace_id, str) else None
                late.append(Overdue(check, run.process_id, trace))
        expectation, last = self._expectation(moment, window, running, own)
        return Turn(
            key=key,
            incidents=incidents,
            answers=[one for one in evaluation.answers if one.checks],
            judged=evaluation.judged,
            expectation=expectation,
            last_start=last,
            was_unscheduled=told(
                moment.schedules_of(key), key.command, key.app, was_scheduled=True
            ).is_off,
            overdue=late,
            running=frozenset(one.process_id for one in moment.running.get(key, ())),
            leftover_before=_leftover(window, self._since(moment)) if key in new else None,
        )

    def _expectation(
        self, moment: _Moment, window: Window, running: Sequence[CommandRun], own: Wishes
    ) -> tuple[Expectation | None, int | str | None]:
        """Which start is awaited, and which was the last."""
        key = window.key
        mode = self._settings.analyze_mode
        starts = [*window.numbers[:, 0], *(one.started_at or 0.0 for one in running)]
        names: list[int | str] = [*window.ids, *(one.process_id for one in running)]
        self._due_at.pop(key, None)
        if not starts:
            return None, None
        last = names[int(np.argmax(starts))]
        if not mode.schedule_analysis_enabled:
            return None, last
        declared = told(moment.schedules_of(key), key.command, key.app)
        found = expected(
            np.array(starts),
            moment.now,
            schedules=declared.schedules if own.schedule is None else (own.schedule,),
            source=declared.source if own.schedule is None else "cron",
            margin_seconds=own.start_margin_seconds,
            zone=own.zone,
            silence_seconds=mode.missed_execution_threshold_hours * 3600,
            seen_until=moment.seen_until,
            is_running=bool(running),
        )
        if found is None or (declared.is_off and own.schedule is None):
            return None, last
        late_at = found.late_at
        if found.is_missed:
            late_at = max(late_at, moment.now) + found.interval_seconds
        self._due_at[key] = max(late_at, moment.now + 1.0)
        return found, last

    def _settle(
        self,
        moment: _Moment,
        token: int,
        turns: Sequence[Turn],
        highest: float,
        report: Report,
        *,
        record: bool,
    ) -> None:
        """Say what was found of some commands, and write what becomes of their incidents."""
        values = self._reader.values({row for turn in turns for row in turn.rows})
        settled: list[_Settled] = []
        for turn in turns:
            key = turn.key
            try:
                own = wishes(self._settings)
                one = Settling(turn, values, highest, own.rules, own.owner, moment.at)
                settled.append(_Settled(turn, one.changes()))
            except Exception as error:
                _fail(report, key.command, "its runs could not be judged", error)
                continue
            report.missed += one.missed
            for anomaly in one.anomalies:
                report.add(anomaly)
        if record:
            self._write(moment, token, settled, report)

    def _write(
        self, moment: _Moment, token: int, settled: Sequence[_Settled], report: Report
    ) -> None:
        """All together; where the database refuses one command's, each by itself."""
        try:
            self._write_together(moment, token, settled, report)
        except DBAPIError as error:
            if database.is_away(error):
                raise
            for one in settled:
                try:
                    self._write_together(moment, token, [one], report)
                except DBAPIError as refused:
                    if database.is_away(refused):
                        raise
                    command = one.turn.key.command
                    _fail(report, command, "what was found could not be written", refused)

    def _write_together(
        self, moment: _Moment, token: int, settled: Sequence[_Settled], report: Report
    ) -> None:
        changes = [change for one in settled for change in one.changes]
        judged = [run for one in settled for run in one.turn.judged]
        if changes or judged:
            with database.reached(self._engine):
                written = self._incidents.write(token, changes, judged, moment.at)
            report.events += len(written)
        for one in settled:
            before = one.turn.leftover_before
            if before is not None:
                since = datetime.fromtimestamp(before, UTC)
                while self._incidents.pass_over(token, one.turn.key, since):
                    pass


def _leftover(window: Window, since: datetime) -> float | None:
    """Start of the oldest run that may be judged, where older ones seem to be new."""
    if not window.unjudged:
        return since.timestamp()
    drained = np.flatnonzero(window.is_drained)
    if window.is_full and window.unjudged[0].place == drained[0]:
        return float(window.numbers[0, 0])
    return None


def _seen_until(state: SyncState) -> float:
    """All that had happened by then is in the history, or still runs."""
    if not state.unsynced:
        return state.now
    if state.succeeded_at is None:
        return float("-inf")
    return state.succeeded_at - (state.duration or 0.0)


def _fail(report: Report, command: str, what: str, error: Exception) -> None:
    report.errors.append(f"{inert(command)}: {what}")
    if isinstance(error, DBAPIError):  # its text holds the statement and its values
        _log.warning("%s: %s: %s", inert(command), what, database.said(error))
    else:
        _log.error("%s: %s", inert(command), what, exc_info=error)
