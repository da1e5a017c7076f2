"""When the next run is due, told by the starts of those before."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

import numpy as np

from jobmon.analysis.runs import Floats

_HOUR: Final = 3_600.0
_DAY: Final = 86_400.0

_MOST_STARTS: Final = 500
_ENOUGH_STARTS: Final = 8
_ENOUGH_ALIKE: Final = 5
"""Suffice where one gap is like the other."""
CLOCK_CHANGE_SECONDS: Final = 70 * 60.0
"""In an unknown zone, a schedule of days moves by an hour twice a year."""

LONG_WEEKEND: Final = 4.5 * _DAY
_LONGEST_HABIT: Final = 7.5 * _DAY
"""A weekday tells of no more than a week."""
_PROVEN: Final = 5
_PROVEN_SHARE: Final = 0.7
"""Of so many newest starts, a habit must have told so many."""
_LONGER: Final = 1.45
"""By the usual interval: it is longer, whatever the starts vary."""


class Inferred(NamedTuple):
    """What the starts tell of the next one."""

    due_at: float
    """Unix seconds."""
    grace_seconds: float
    """How much later it may come."""
    interval_seconds: float
    """Usual time from start to start."""
    rule: str
    """In words, such as ``every 15 min``."""


def infer(starts: Floats, zone: tzinfo | None = None) -> Inferred | None:
    """The next start to expect, or None where the starts follow no schedule that can be told.

    Args:
        starts: Unix seconds, ascending, no two the same, the last 500 count. Where they reach back
            for some hours only, they tell of no night.
        zone: In which the schedule is written. None or UTC: unknown, its clock may change.
    """
    starts = starts[-_MOST_STARTS:]
    if len(starts) < _ENOUGH_ALIKE:
        return None
    times = _Times(starts, zone)
    monthly = _monthly(times)
    if monthly is not None:
        return monthly
    if len(starts) < _ENOUGH_STARTS:
        return _alike(times)
    fixed = _fixed(times)
    return _context(times, fixed) or fixed or _changed(times) or _with_extra_runs(times)


def grace_seconds(interval: float) -> float:
    """How late a start may be, where nobody says: half an interval up to two hours; of longer
    ones an hour to two, from three days on four."""
    if interval <= 2 * _HOUR:
        return max(60.0, interval / 2)
    if interval < 3 * _DAY:
        return min(max(interval / 4, _HOUR), 2 * _HOUR)
    return 4 * _HOUR


class _Times:
    """The starts, what is between them, and the clock on the wall."""

    def __init__(self, starts: Floats, zone: tzinfo | None) -> None:
        self.starts: Final = starts
        self.gaps: Final = np.diff(starts)
        self.last: Final = float(starts[-1])
        self.usual: Final = float(np.median(self.gaps[-60:]))
        # UTC is what is set where nothing is.
        self.zone: Final = None if zone is UTC else zone

    def on_the_wall(self) -> Floats:
        """Seconds that clocks in the zone show, counted from 1970 there."""
        return self.starts if self.zone is None else self.starts + _offsets(self.starts, self.zone)

    def moment(self, wall: float) -> float:
        """Unix seconds at which these clocks show that."""
        if self.zone is None:
            return wall
        shown = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall)
        return shown.replace(tzinfo=self.zone).timestamp()

    def grace(self, interval: float, ahead: float) -> float:
        """How late the next may be, when runs are so far apart and this one so far ahead."""
        grace = grace_seconds(interval)
        if ahead >= 20 * _HOUR and self.zone is None:
            grace = max(grace, CLOCK_CHANGE_SECONDS)
        return grace


def _offsets(starts: Floats, zone: tzinfo) -> Floats:
    """Of the zone from UTC at each start, in seconds; looked up no more often than it changes."""
    first, last = (
        datetime.fromtimestamp(float(at), zone).utcoffset() or timedelta() for at in starts[[0, -1]]
    )
    if len(starts) <= 2 or (first == last and starts[-1] - starts[0] < 60 * _DAY):
        offsets = np.full(len(starts), first.total_seconds())
        offsets[-1] = last.total_seconds()
        return offsets
    half = len(starts) // 2
    return np.concatenate([_offsets(starts[:half], zone), _offsets(starts[half:], zone)])


def _sd(values: Floats) -> float:
    """Standard deviation that a quarter of odd values does not move far."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _point(ascending: Floats, share: float) -> float:
    return float(ascending[min(len(ascending) - 1, int(share * len(ascending)))])


def _monthly(times: _Times) -> Inferred | None:
    """The same day of each month, at the same time."""
    if not 26 * _DAY <= times.usual <= 33 * _DAY:
        return None
    walls = times.on_the_wall()[-8:]
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=float(wall)) for wall in walls]
    days = {moment.day for moment in moments}
    # Always the last: the 31st, the 30th, the 28th.
    ends = all(moment.day == _days_in(moment.year, moment.month) for moment in moments)
    if len(days) > 1 and not ends:
        return None
    clock = walls % _DAY
    if float(np.ptp(clock)) > 2 * _HOUR:
        return None
    last = moments[-1]
    year, month = last.year + last.month // 12, last.month % 12 + 1
    length = _days_in(year, month)
    if not ends and last.day > length:  # cron leaves such a month out
        return None
    day = length if ends else last.day
    midnight = datetime(year, month, day, tzinfo=UTC).timestamp()
    due_at = times.moment(midnight + float(np.median(clock)))
    return Inferred(due_at, 6 * _HOUR, times.usual, "every month")


def _days_in(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _alike(times: _Times) -> Inferred | None:
    """Few starts, one like the other."""
    if times.gaps.max() > 1.1 * times.gaps.min():
        return None
    return _regular(times, np.sort(times.gaps))


def _fixed(times: _Times) -> Inferred | None:
    """A fixed interval: gaps end at a sharp upper edge.

    Longer ones are few and whole multiples of it, which are runs that were missed; no more than
    one of the last forty is a pause, and few of all.
    """
    recent = np.sort(times.gaps[-40:])
    interval = _point(recent, 0.6)
    core = recent[recent <= _LONGER * interval]
    edge = _point(core, 0.97) / _point(core, 0.6)
    if edge > 1.35 or _point(core, 0.1) < 0.75 * interval:
        return None
    longer = recent[len(core) :] / interval
    skips = int(np.count_nonzero((longer < 8.5) & (np.abs(longer - np.round(longer)) < 0.2)))
    pauses = len(longer) - skips
    if skips > max(1, 0.12 * len(recent)) or pauses > 1 or (pauses and edge > 1.1):
        return None
    if np.count_nonzero(times.gaps > 8.5 * interval) > 2:
        return None
    return _regular(times, core)


def _context(times: _Times, fixed: Inferred | None) -> Inferred | None:
    """What followed earlier runs at this time of this weekday, else of the day.

    It tells of nights, weekends and uneven times of day, which an interval does not.
    """
    walls = times.on_the_wall()
    gaps = np.diff(walls)
    near = min(max(0.4 * _point(np.sort(gaps), 0.25), 60.0), 2 * _HOUR)
    followed = _followed(walls, gaps, near)
    habit = _habit(followed)
    if habit is None or not _holds(walls, gaps, near):
        # A night or two are no habit yet, but reason enough not to expect a run in the third.
        soonest = followed.soonest()
        if fixed is None or soonest <= _LONGER * fixed.interval_seconds:
            return None
        habit = _Habit(soonest, 0.0)
    elif fixed is not None and habit.gap < 0.75 * fixed.interval_seconds:
        return None  # the schedule was changed since
    elif habit.gap > _LONGEST_HABIT:
        return None
    interval = min(habit.gap, times.usual)
    grace = times.grace(interval, habit.gap) + 4 * min(habit.sd, interval)
    due_at = times.moment(float(walls[-1]) + habit.gap)
    return Inferred(due_at, grace, interval, "at this time of earlier days")


class _Followed(NamedTuple):
    """Gaps after the runs at about the time of day of the last, one a day, the latest first."""

    gaps: Floats
    weekly: Floats
    """Those on the same weekday."""

    def soonest(self) -> float:
        """No sooner than this came a run on either of the last two days; 0: nothing is known."""
        last = float(self.gaps[:2].min()) if len(self.gaps) else 0.0
        # Once may have been a pause; a night it was if it is no longer than one.
        return last if last < (LONG_WEEKEND if len(self.gaps) > 1 else _DAY) else 0.0


def _followed(walls: Floats, gaps: Floats, near: float) -> _Followed:
    last, before = walls[-1], walls[:-1]
    off = np.abs((before - last + _DAY / 2) % _DAY - _DAY / 2)
    same = np.flatnonzero(off <= near)
    days_ago: Floats = ((last - before[same]) / _DAY).round()
    # Of several on one day, the one that is nearest: they are one observation.
    nearest = np.lexsort((off[same], days_ago))
    days_ago, first = np.unique(days_ago[nearest], return_index=True)
    followed = gaps[same[nearest[first]]][days_ago >= 1]
    return _Followed(followed, followed[days_ago[days_ago >= 1] % 7 == 0])


class _Habit(NamedTuple):
    gap: float
    sd: float


def _habit(followed: _Followed) -> _Habit | None:
    """What usually follows."""
    weekly = followed.weekly[:8]
    habit = _agreed(weekly, 2, 0.75)
    if habit is None:
        habit = _agreed(followed.gaps[:10], 3, 0.65)
        if habit is not None and len(weekly):  # the second weekend of a week of work
            once = float(weekly.min())
            habit = habit._replace(gap=max(habit.gap, once if once < LONG_WEEKEND else 0.0))
    if habit is not None and followed.soonest() > _LONGER * habit.gap:
        # Clocks were changed in an unknown zone, or the schedule was.
        return habit._replace(gap=followed.soonest())
    return habit


def _agreed(gaps: Floats, least: int, share: float) -> _Habit | None:
    """What such a share of them agree on."""
    if len(gaps) < least:
        return None
    middle = float(np.median(gaps))
    agreeing = gaps[np.abs(gaps - middle) <= min(0.15 * middle, 6 * _HOUR)]
    if len(agreeing) < share * len(gaps):
        return None
    return _Habit(middle, _sd(agreeing))


def _holds(walls: Floats, gaps: Floats, near: float) -> bool:
    """Whether it would have told the newest starts: a few days agree by chance too."""
    told = right = 0
    for end in range(len(gaps), max(1, len(gaps) - _PROVEN), -1):
        habit = _habit(_followed(walls[:end], gaps[: end - 1], near))
        if habit is not None:
            told += 1
            right += abs(habit.gap - gaps[end - 1]) <= 0.15 * habit.gap + 4 * habit.sd
    return right > 0 and right >= _PROVEN_SHARE * told


def _changed(times: _Times) -> Inferred | None:
    """A schedule that was changed some runs ago: the newest gaps agree with each other."""
    newest = times.gaps[-8:]
    middle = float(np.median(newest))
    if np.abs(newest - middle).max() > 0.15 * middle:
        return None
    return _regular(times, np.sort(newest))


def _with_extra_runs(times: _Times) -> Inferred | None:
    """An interval into which people started further runs, so that some gaps are shorter."""
    recent = np.sort(times.gaps[-60:])
    gap = _point(recent, 0.97)
    if gap > 1.1 * _point(recent, 0.55):
        return None
    return _after(times, gap, gap / 2)


def _regular(times: _Times, ascending: Floats) -> Inferred:
    """The middle of such gaps; the longest of them are no reason for alarm."""
    interval = float(np.median(ascending))
    variation = max(4 * _sd(ascending), _point(ascending, 0.97) - interval)
    return _after(times, interval, variation)


def _after(times: _Times, interval: float, more_grace: float) -> Inferred:
    grace = times.grace(interval, interval) + more_grace
    return Inferred(times.last + interval, grace, interval, f"every {words(interval)}")


def words(seconds: float) -> str:
    """A span of time in its largest unit: ``45 s``, ``15 min``, ``1.5 h``, ``7 d``."""
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", 60.0)):
        if seconds >= 0.995 * size and (unit != "d" or seconds >= 1.9 * size):
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{seconds:.3g} s"
