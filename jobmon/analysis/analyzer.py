"""Evaluates commands: reads their runs, judges, remembers what goes on, and writes what is news."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import DBAPIError

from jobmon.analysis.checks import Kind
from jobmon.analysis.discoveries import limit
from jobmon.analysis.evaluation import LEAST_NEW, MOST_NEW
from jobmon.analysis.learning import Learning
from jobmon.analysis.missed import MOST_MISSED
from jobmon.analysis.report import Insufficient, Report
from jobmon.analysis.runs import ENOUGH_RUNS
from jobmon.analysis.schedules import refuse_unreadable
from jobmon.analysis.settling import Settling
from jobmon.analysis.turns import Moment, Turn, expectation, moment, turn
from jobmon.analysis.wishes import wishes
from jobmon.history import database
from jobmon.history.database import DatabaseUnavailable
from jobmon.history.fence import Fence
from jobmon.history.incidents import Change, Incidents
from jobmon.history.runs import COMMANDS, CommandKey, RunReader, Window
from jobmon.history.schema import tables
from jobmon.inert import inert
from jobmon.store.chunks import chunks
from jobmon.store.identity import Identity
from jobmon.store.keys import ANALYSIS
from jobmon.store.reader import Reader

if TYPE_CHECKING:
    import redis
    import sqlalchemy as sa

    from jobmon.settings import Settings

_LATE: Final = "not all commands were evaluated: the time was up"
_NOT_READ: Final = "its runs could not be read"
_NOT_JUDGED: Final = "its runs could not be judged"
_NOT_WRITTEN: Final = "what was found could not be written"
_MOST_JUDGED: Final = 5_000
"""New runs in one evaluation, about: a judgement takes some milliseconds."""
_DAY: Final = timedelta(days=1)
_AWAITED: Final = MOST_MISSED + 1
"""Usual times between its starts for which a command that runs rarely is awaited."""
_log: Final = logging.getLogger("jobmon.analysis")


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

        Raises:
            SettingsError: A schedule in ``analyze_mode.commands`` is none.
        """
        refuse_unreadable(settings)
        own = tables(settings.database.table_prefix)
        self._engine = engine
        self._reader = RunReader(engine, own)
        fence = Fence(own, ANALYSIS, Identity(client, settings))
        self._incidents = Incidents(engine, own, fence)
        self._store = Reader(client, settings)
        self._learning = Learning(client, settings)
        self._settings = settings
        self._due_at: dict[CommandKey, float] = {}
        """When a start of a command may be missing; infinity: never."""
        self._overdue_at: dict[str, float] = {}
        """When a run that has not ended may take too long, by its id."""

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
                ``analyze_mode.retention_days``, and those that run so rarely that they did not.
            record: False: nothing is written, nobody is told.
            deadline: Of ``time.monotonic``: what is not judged by then is left for the next time.

        Raises:
            DatabaseUnavailable: The database cannot be asked.
            FencedError: Somebody else analyzes by now.
            redis.RedisError: The store cannot be asked.
        """
        this = moment(self._store)
        since = self._since(this)
        new = set(self._reader.unjudged())
        names = commands
        if names is None:
            stopped = (key for key, _ in self._incidents.open(str(Kind.MISSED_EXECUTION)))
            names = sorted({*self._ran(this), *(key.command for key in (*new, *stopped))})
        try:
            for key in self._reader.keys(since, commands):
                self._due_at.setdefault(key, math.inf)
        except DatabaseUnavailable as error:  # of so many runs it may take too long
            _log.warning("namesakes of commands may be left out: %s", error)
        report = self._evaluate(this, token, names, new, None, record=record, deadline=deadline)
        if commands is None:
            report.unknown.clear()  # nobody asked for them by their names
        if commands is None and record:
            awaited = {key for key, at in self._due_at.items() if at < math.inf}
            self._learning.forget(since.timestamp(), awaited)
        return report

    def analyze_new(self, token: int, *, deadline: float | None = None) -> Report:
        """Judge the commands that have new runs, a run that takes long, or a start that is due.

        Args, raises: as of `analyze`.
        """
        this = moment(self._store)
        open_ids = {run.process_id for runs in this.running.values() for run in runs}
        self._overdue_at = {one: at for one, at in self._overdue_at.items() if one in open_ids}
        new = set(self._reader.unjudged())
        due = {key for key, at in self._due_at.items() if at <= this.now}
        due |= {
            key
            for key, runs in this.running.items()
            if any(self._overdue_at.get(one.process_id, 0.0) <= this.now for one in runs)
        }
        for key, process_id in self._incidents.open(str(Kind.OVERDUE_RUN)):
            if process_id not in open_ids:
                due.add(key)
        due |= new
        names = sorted({key.command for key in due})
        return self._evaluate(this, token, names, new, due, record=True, deadline=deadline)

    def _since(self, this: Moment) -> datetime:
        day = this.at.replace(hour=0, minute=0, second=0, microsecond=0)
        return day - self._settings.analyze_mode.retention_days * _DAY

    def _ran(self, this: Moment) -> Iterator[str]:
        """Commands that ran lately, or rarely but so that a start may be awaited."""
        since = self._since(this)
        told = {command for _, command in this.schedules}
        for command, days, last_day in self._reader.commands(since):
            if (
                last_day >= since
                or days >= ENOUGH_RUNS
                or command in told
                or wishes(self._settings, command).schedule is not None
            ):
                yield command

    def _awaited(self, this: Moment, window: Window) -> Window:
        """The runs of a command; none if the last is long ago and none is awaited any more."""
        is_old = len(window.ids) and window.numbers[-1, 0] < self._since(this).timestamp()
        if not is_old or window.key in this.running:
            return window
        if self._settings.analyze_mode.schedule_analysis_enabled:
            awaited = expectation(this, window, wishes(self._settings, window.key.command))
            if awaited is not None:
                silent = this.now - awaited.last_start_at
                if silent < _AWAITED * awaited.interval_seconds:
                    return window
        return Window.empty(window.key)

    def _evaluate(
        self,
        this: Moment,
        token: int,
        names: Sequence[str],
        new: set[CommandKey],
        only: set[CommandKey] | None,
        *,
        record: bool,
        deadline: float | None,
    ) -> Report:
        began = time.monotonic()
        report = Report(this.at)
        turns: list[Turn] = []
        if names or only is None:
            self._learning.begin()
        for some in chunks(names, COMMANDS):
            if deadline is not None and time.monotonic() > deadline:
                report.errors.append(_LATE)
                report.is_complete = False
                break
            turns += self._turns(this, some, new, only, report)
        report.commands_analyzed = sum(one.last_start is not None for one in turns)
        # A few of 10,000 runs differ by chance: what is news is known once all are judged.
        highest = limit([p_value for one in turns for p_value in one.p_values])
        for some in chunks(turns, COMMANDS):
            settled = self._settle(this, some, highest, report)
            if record:
                self._write(this, token, settled, report)
                self._learning.take(settled, this.now)
        if record:
            self._pass_over(this, token, turns, new)
        if report.missed:
            names = sorted({inert(one.command_name) for one in report.missed})
            report.warnings.append(f"Missed scheduled executions detected: {', '.join(names)}")
        report.seconds = time.monotonic() - began
        return report

    def _turns(
        self,
        this: Moment,
        names: Sequence[str],
        new: set[CommandKey],
        only: set[CommandKey] | None,
        report: Report,
    ) -> Iterator[Turn]:
        incidents = self._incidents.current(names)
        known: dict[str, set[CommandKey]] = {name: set() for name in names}
        for key in (*new, *incidents, *this.running, *self._due_at):
            if key.command in known:
                known[key.command].add(key)
        windows: list[Window] = []
        for name, found in self._reader.windows(names, self._since(this), known):
            if isinstance(found, DBAPIError):
                _fail(report, name, _NOT_READ, found)
                continue
            own = [self._awaited(this, one) for one in found if only is None or one.key in only]
            windows += own
            if not any(len(one.ids) or one.key in this.running for one in own):
                report.unknown.append(name)
        most_new = min(MOST_NEW, max(LEAST_NEW, _MOST_JUDGED // max(1, len(new))))
        queue_times = self._reader.queue_times(
            one.process_id for window in windows for one in window.unjudged
        )
        for window in windows:
            key = window.key
            try:
                made = turn(
                    *(this, window, queue_times, incidents.get(key, ())),
                    wishes(self._settings, key.command),
                    looks_for_missed=self._settings.analyze_mode.schedule_analysis_enabled,
                    learns=self._learning.is_wanted(key, has_new=bool(window.unjudged)),
                    most_new=most_new,
                )
            except Exception as error:
                _fail(report, key.command, _NOT_JUDGED, error)
                continue
            if not made.is_enough:
                report.insufficient.append(Insufficient(*key, made.runs, ENOUGH_RUNS))
            self._due_at[key] = made.due_at
            self._overdue_at.update(made.overdue_at)
            yield made

    def _settle(
        self, this: Moment, turns: Sequence[Turn], highest: float, report: Report
    ) -> list[_Settled]:
        """Say what was found of some commands, and work out what becomes of their incidents."""
        values = self._reader.values({row for one in turns for row in one.rows})
        settled: list[_Settled] = []
        for one in (made.knowing(values) for made in turns):
            try:
                settling = Settling(one, values, highest, this)
                settled.append(_Settled(one, settling.changes()))
            except Exception as error:
                _fail(report, one.key.command, _NOT_JUDGED, error)
                continue
            report.missed += settling.missed
            for anomaly in settling.anomalies:
                report.add(anomaly)
        return settled

    def _write(self, this: Moment, token: int, settled: Sequence[_Settled], report: Report) -> None:
        """All together; where the database refuses one command's, each by itself."""
        changes = [change for one in settled for change in one.changes]
        judged = [run for one in settled for run in one.turn.judged]
        if not changes and not judged:
            return
        try:
            with database.answering(self._engine):
                report.events += len(self._incidents.write(token, changes, judged, this.at))
        except DBAPIError as error:
            if len(settled) == 1:
                _fail(report, settled[0].turn.key.command, _NOT_WRITTEN, error)
                return
            for one in settled:
                self._write(this, token, [one], report)

    def _pass_over(
        self, this: Moment, token: int, turns: Sequence[Turn], new: set[CommandKey]
    ) -> None:
        """Take for judged what is new, but too old to be judged."""
        if not new:
            return
        before: list[tuple[CommandKey | None, datetime]] = [(None, self._since(this))]
        before += (
            (one.key, datetime.fromtimestamp(one.leftover_before, UTC))
            for one in turns
            if one.leftover_before is not None
        )
        with database.answering(self._engine):
            for key, until in before:
                while self._incidents.pass_over(token, until, key):
                    pass


def _fail(report: Report, command: str, what: str, error: Exception) -> None:
    report.errors.append(f"{inert(command)}: {what}")
    if isinstance(error, DBAPIError):  # its text holds the statement and its values
        _log.warning("%s: %s: %s", inert(command), what, database.said(error))
    else:
        _log.error("%s: %s", inert(command), what, exc_info=error)
