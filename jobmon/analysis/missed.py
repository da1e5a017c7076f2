"""Is a run missing that should have started by now?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from jobmon.analysis.checks import Baseline, Check, Kind
from jobmon.analysis.inference import CLOCK_CHANGE_SECONDS, LONG_WEEKEND, grace_seconds, infer
from jobmon.analysis.runs import Floats
from jobmon.analysis.schedules import Schedule, next_due

MOST_MISSED: Final = 3
"""Due times in a row after which a command counts as stopped."""
_GIVEN_UP_SECONDS: Final = 7 * 86_400.0
"""After the first due time, or three intervals. What has stopped for so long was renamed or
retired, unless somebody declares that it must run."""
_SILENCE: Final = "silence"
_EARLY_SECONDS: Final = 60.0
"""Clocks differ: a start so soon before a due time is that time's start."""
_FUTURE_SECONDS: Final = 3_600.0
"""Starts further in the future are of a clock that was set wrong."""
_ENOUGH_STARTS: Final = 5
_ENOUGH_IRREGULAR_STARTS: Final = 30
_RECENT: Final = 10
_LATER: Final = 1.5
"""By what is usually late: it is later than usual."""
_MOST_STARTS: Final = 500
_MOST_GAPS: Final = 100
_PAUSE: Final = 3.0
"""By the usual time between starts, or minutes: a longer one is a night, or a weekend."""
_REGULAR: Final = 1.35
"""Longest by usual time between starts, of a command that runs regularly."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The one start that is awaited. Times are Unix seconds."""

    due_at: float
    """First due time after the last start."""
    late_at: float
    """From then on it is missed."""
    interval_seconds: float
    """Usual time between two starts."""
    source: str
    """``cron``, ``beat``, ``rq cron``; ``inferred: every 1 h`` and the like; ``silence``."""
    last_start_at: float
    judged_at: float
    """Up to when all starts are known."""
    missed_count: int
    """Due times that have passed without a start in time; 3 stands for any more."""
    start_count: int
    """Starts that it rests on."""
    first_start_at: float
    spread: float
    """Robust standard deviation of the logarithm of the times between starts."""
    zone: tzinfo
    """Of the schedule."""

    @property
    def is_missed(self) -> bool:
        """The start is late by more than its margin."""
        return self.missed_count > 0

    @property
    def due(self) -> datetime | None:
        """`due_at` in the zone of the schedule; None where there is none, but silence."""
        if self.source == _SILENCE:
            return None
        return datetime.fromtimestamp(self.due_at, self.zone)


def expected(
    starts: Floats,
    now: float,
    *,
    schedules: Sequence[Schedule] = (),
    source: str = "cron",
    margin_seconds: float | None = None,
    zone: tzinfo | None = None,
    silence_seconds: float = 86_400.0,
    seen_until: float = math.inf,
    is_running: bool = False,
    ended_at: float | None = None,
    next_starts: Mapping[int, float] = MappingProxyType({}),
) -> Expectation | None:
    """The next start of a command, and whether it is missed.

    What decides is the first of these that applies:

    1. `schedules`: due at the first of their times after the last start;
    2. what `infer` tells from the starts before;
    3. five starts or more, one like the other: missed after a silence of ``silence_seconds``, the
       documented rule, or of two usual intervals if that is more;
    4. 30 starts or more, in no order: likewise, with four times the longest silence so far. Such
       commands have no schedule; all that is said is that they fell silent.

    However many due times pass, one start is awaited: of the first. A start up to a minute early
    counts for a due time; a late one for the latest before it. A command that never ran is not
    expected, nor is one without declared schedules that has stopped for a week.

    Args:
        starts: Of its runs, in Unix seconds, in any order; those that run included.
        now: The moment of the judgement.
        schedules: Declared ones; each starts runs of its own.
        source: Who declared them.
        margin_seconds: How late a start may be, setting `start_margin_seconds`. None: half an
            interval up to two hours; for longer ones an hour to two, from three days on four;
            more if starts are usually late, as behind a long queue, or vary.
        zone: In which the command's schedule was written, where none is declared.
        silence_seconds: Setting `missed_execution_threshold_hours`, in seconds.
        seen_until: Up to when every start is known, whatever `now` is: a start that was recorded
            but not copied yet must not count as missing.
        is_running: A run of the command has not ended, so nothing is missed; that it may take too
            long is another question.
        ended_at: When the last run ended. One that took longer than its interval may hold up the
            next, whose margin then counts from here.
        next_starts: By days: when the next run started after this time of day so many days ago,
            so many days later. Of a command of which `starts` are those of some hours or days,
            they tell of a night or a weekend that begins.
    """
    seen = np.unique(starts[np.isfinite(starts) & (starts <= now + _FUTURE_SECONDS)])
    seen = seen[-_MOST_STARTS:]
    if not len(seen):
        return None
    last = float(seen[-1])
    if schedules:
        due_at, interval = min(_due(schedule, last) for schedule in schedules)
        if margin_seconds is None:
            usual = _usual_lateness(schedules, seen, interval)
            margin_seconds = max(grace_seconds(interval), _LATER * usual)
        late_at = due_at + margin_seconds
    else:
        found = _undeclared(seen, zone, margin_seconds, silence_seconds)
        if found is None:
            return None
        due_at, late_at, interval, source = found
        resumes_at = _resumes_at(next_starts, last)
        if resumes_at > due_at + _PAUSE * max(interval, 60.0):
            late_at += resumes_at - due_at
            due_at = resumes_at
            if margin_seconds is None:
                late_at = max(late_at, due_at + CLOCK_CHANGE_SECONDS)
    if ended_at is not None:
        late_at += max(0.0, min(ended_at, now) - due_at)
    judged_at = min(now, seen_until)
    missed_count = 0
    if judged_at >= late_at and not is_running:
        missed_count = _passed(schedules, due_at, interval, judged_at - (late_at - due_at))
    given_up_at = due_at + max(_GIVEN_UP_SECONDS, MOST_MISSED * interval)
    if missed_count == MOST_MISSED and judged_at >= given_up_at and not schedules:
        return None
    return Expectation(
        due_at=due_at,
        late_at=late_at,
        interval_seconds=interval,
        source=source,
        last_start_at=last,
        judged_at=judged_at,
        missed_count=missed_count,
        start_count=len(seen),
        first_start_at=float(seen[0]),
        spread=_spread(seen),
        zone=zone or (schedules[0].zone if schedules else UTC),
    )


def missed(expectation: Expectation | None) -> Check | None:
    """The expectation as a check of the hours since the last start; None where nothing is due.

    Its p-value is 0 or 1: no chance is at work.
    """
    if expectation is None:
        return None
    usual = expectation.interval_seconds / 3600
    high = (expectation.late_at - expectation.last_start_at) / 3600
    silent = max(0.0, expectation.judged_at - expectation.last_start_at) / 3600
    baseline = Baseline(
        centre=usual,
        low=0.0,
        high=high,
        spread=expectation.spread,
        n=expectation.start_count,
        first_at=expectation.first_start_at,
        last_at=expectation.last_start_at,
    )
    return Check(
        Kind.MISSED_EXECUTION,
        "hours_since_last_run",
        silent,
        baseline,
        ratio=min(silent / usual, 999.99),
        p_value=0.0 if expectation.is_missed else 1.0,
        test=expectation.source[:64],
        threshold=high / usual,
        is_anomaly=expectation.is_missed,
        due=expectation.due,
    )


def _due(schedule: Schedule, last: float) -> tuple[float, float]:
    """Its first due time after the last start, and its usual interval there."""
    times = [last]
    for _ in range(4):
        times.append(schedule.after(times[-1]))
    # Of three, so that neither a night nor a weekend makes an interval of minutes one of days.
    interval = float(np.median(np.diff(times[1:])))
    is_early = times[1] - last <= min(_EARLY_SECONDS, interval / 4)
    return (times[2] if is_early else times[1]), interval


def _usual_lateness(schedules: Sequence[Schedule], starts: Floats, interval: float) -> float:
    """How late three of the last ten starts were, or later; 0 where too few are known."""
    recent = starts[-_RECENT - 1 :]
    if len(recent) <= _ENOUGH_STARTS:
        return 0.0
    due = [next_due(schedules, float(start)) for start in recent[:-1]]
    lateness = recent[1:] - np.array(due)
    # By an interval or more: that was another due time's start.
    lateness = np.sort(lateness[(lateness > 0) & (lateness < interval)])
    return float(lateness[-3]) if len(lateness) >= 3 else 0.0


class _Undeclared(NamedTuple):
    due_at: float
    late_at: float
    interval_seconds: float
    source: str


def _undeclared(
    starts: Floats, zone: tzinfo | None, margin_seconds: float | None, silence_seconds: float
) -> _Undeclared | None:
    last = float(starts[-1])
    inferred = infer(starts, zone)
    if inferred is not None:
        due_at, grace, interval, rule = inferred
        late_at = due_at + (grace if margin_seconds is None else margin_seconds)
        return _Undeclared(due_at, late_at, interval, f"inferred: {rule}")
    gaps = np.diff(starts)[-_MOST_GAPS:]
    if len(starts) < _ENOUGH_STARTS:
        return None
    interval, longest = float(np.median(gaps)), float(gaps.max())
    if longest <= _REGULAR * interval:
        silence = max(silence_seconds, 2 * interval)
    elif len(starts) >= _ENOUGH_IRREGULAR_STARTS:
        silence = max(silence_seconds, 4 * longest)
    else:
        return None
    return _Undeclared(last + silence, last + silence, interval, _SILENCE)


def _resumes_at(next_starts: Mapping[int, float], last: float) -> float:
    """No sooner is the next start, by this time of earlier days; 0: nothing is known."""
    # A week ago may have been a holiday, or exceptionally busy; of the last days some may have
    # been a weekend, but they are the first to tell of other hours.
    known = [(days, at) for days, at in next_starts.items() if at - last < LONG_WEEKEND]
    weeks = [at for days, at in known if days % 7 == 0]
    others = [at for days, at in known if days % 7]
    return max([*weeks, min(others, default=0.0)])


def _passed(
    schedules: Sequence[Schedule], due_at: float, interval_seconds: float, until: float
) -> int:
    """Due times from the first missed one on, as many as count."""
    count = 0
    while due_at <= until and count < MOST_MISSED:
        count += 1
        due_at = next_due(schedules, due_at) if schedules else due_at + interval_seconds
    return count


def _spread(starts: Floats) -> float:
    if len(starts) < 3:
        return 0.0
    gaps = np.log(np.diff(starts))
    return 1.4826 * float(np.median(np.abs(gaps - np.median(gaps))))
