"""Declared schedules: cron lines and intervals, from the configuration or told by a scheduler."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobmon.settings import PerCommand, Settings, SettingsError
from jobmon.store.schedules import ScheduleEntry, Schedules

_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_EVERY: Final = re.compile(
    r"every\s+(?:([0-9.]+(?:e[+]?[0-9]+)?)\s*)?"
    r"(?:(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hours?)|(d|days?))",
    re.IGNORECASE,
)
_MOST_SECONDS: Final = 366 * 86_400.0
_ALLOWED: Final = 'a cron line of five fields, or such as "every 15 minutes"'
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = (
    "",
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_FIELDS: Final[tuple[tuple[int, int, tuple[str, ...]], ...]] = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
"""Lowest, highest and names of each."""
_MOST_TOLD: Final = 1_000
"""Entries of one scheduler that the store is told of."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a command is to start. `parse` makes one."""

    text: str
    """A cron line, or ``every N s``."""
    zone: tzinfo
    """In which the line's fields are."""
    every_seconds: float | None = None
    """Of an interval, which counts from the last start; None for a cron line."""
    is_celerys: bool = False
    """Day of month and day of week must both fit, as Celery has it; cron takes either."""

    @classmethod
    def parse(cls, text: str, zone: str | None = None, *, is_celerys: bool = False) -> Schedule:
        """Read a cron line, ``@daily`` and the like, or ``every N seconds|minutes|hours|days``.

        Args:
            text: The line.
            zone: Name of the time zone of a cron line, as IANA has it; UTC if not given.
            is_celerys: It is a crontab of Celery's.

        Raises:
            ValueError: It is none, never comes, or there is no such zone.
        """
        found = _EVERY.fullmatch(text.strip())
        if found is not None:
            seconds = _seconds(found)
            return cls(f"every {seconds:.15g} s", UTC, seconds)
        line = _ALIASES.get(text.strip().lower(), text)
        if is_celerys:
            line = _as_cron(line)
        schedule = cls(" ".join(line.split()), zone_of(zone), None, is_celerys)
        if len(line.split()) != 5:
            raise ValueError(f"{text!r} is no schedule; expected {_ALLOWED}")
        try:
            schedule.after(datetime.now(UTC).timestamp())
        except (CronSimError, StopIteration) as error:
            reason = str(error) or "it never comes"
            raise ValueError(f"{text!r} is no schedule ({reason}); expected {_ALLOWED}") from None
        return schedule

    def after(self, moment: float) -> float:
        """The next time that it is due, in Unix seconds, later than ``moment``.

        What falls into the hour that a clock change leaves out is due right after it; what falls
        into the hour that comes twice is due once, unless it comes every hour or minute anyway.
        So Debian's cron does it.
        """
        if self.every_seconds is not None:
            return moment + self.every_seconds
        times = CronSim(self.text, datetime.fromtimestamp(moment, self.zone))
        times.day_and = times.day_and or self.is_celerys
        while True:
            due_at = next(times).timestamp()
            # In the second of the two hours, the line's next time may be in the first.
            if due_at > moment:
                return due_at


def zone_of(name: str | None) -> tzinfo:
    """A time zone by its name; without one, UTC.

    Raises:
        ValueError: There is none of that name.
    """
    if name is None or name.upper() in ("", "UTC", "Z", "ETC/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):  # also where it names a folder
        raise ValueError(
            f"there is no time zone {name!r}; expected such as Europe/Berlin"
        ) from None


def declared(command: PerCommand, zone: str) -> Schedule | None:
    """The schedule that the configuration gives a command.

    Args:
        command: Its settings.
        zone: Where they name none.

    Raises:
        ValueError: As of `Schedule.parse`.
    """
    if command.schedule is None:
        return None
    return Schedule.parse(command.schedule, command.timezone or zone)


def refuse_unreadable(settings: Settings) -> None:
    """See that every schedule in the configuration can be read.

    Where settings are loaded they are only looked over: users' processes have no library for cron
    lines.

    Raises:
        SettingsError: Some cannot.
    """
    problems: list[str] = []
    for name, command in settings.analyze_mode.commands.items():
        try:
            declared(command, settings.analyze_mode.timezone)
        except ValueError as error:
            problems.append(f"analyze_mode.commands: {name}: schedule: {error}")
    if problems:
        raise SettingsError(problems)


def _seconds(every: re.Match[str]) -> float:
    number, *units = every.groups()
    unit = next(name for name, found in zip(_UNITS, units, strict=True) if found)
    try:
        seconds = float(number or 1) * _UNITS[unit]
    except ValueError:
        raise ValueError(f"{number!r} is no number") from None
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(f"{every[0]!r} is no interval; expected up to 366 days")
    return seconds


def _as_cron(line: str) -> str:
    """A crontab of Celery's as cron writes it: no sets, no long names, no ranges over the end."""
    line = re.sub(r"[\[({]([^\])}]*)[\])}]", lambda found: re.sub(r"[\s'\"]", "", found[1]), line)
    fields = line.split()
    if len(fields) != len(_FIELDS):
        return line
    return " ".join(
        ",".join(_as_cron_item(item, *field) for item in text.split(","))
        for text, field in zip(fields, _FIELDS, strict=True)
    )


def _as_cron_item(item: str, lowest: int, highest: int, names: tuple[str, ...]) -> str:
    def number(found: re.Match[str]) -> str:
        word = found[0][:3].lower()
        return str(names.index(word)) if word in names else found[0]

    item = re.sub("[A-Za-z]+", number, item)
    found = re.fullmatch(r"(\d+)-(\d+)(?:/(\d+))?", item)
    if found is None:
        return item
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if first <= last or not step:
        return item
    values = [*range(first, highest + 1), *range(lowest, last + 1)]
    return ",".join(str(value) for value in values[::step])


class Told(NamedTuple):
    """What the schedulers tell of one command."""

    schedules: tuple[Schedule, ...] = ()
    """Each starts runs of its own."""
    source: str = ""
    """``beat`` or ``rq cron``; empty where none tells of it."""
    is_off: bool = False
    """It was disabled or taken out: no run is to be expected, whatever came before."""

    @property
    def zone(self) -> tzinfo | None:
        """Of its first cron line in one; None where there is none, or it is UTC, which is what is
        set where nobody sets any."""
        return next((one.zone for one in self.schedules if one.zone is not UTC), None)


def told(schedules: Schedules, command: str, app: str, *, was_scheduled: bool = False) -> Told:
    """What the schedulers tell of a command: its entries are those with its name.

    Args:
        schedules: All that the store knows.
        command: The command's name.
        app: Setting `app` of the processes that record it.
        was_scheduled: A scheduler started its last run. If none knows it any more, while those
            that run tell all they know, it was taken out.
    """
    entries = [one for one in schedules.entries if one.name == command and one.app == app]
    if not entries:
        return Told(is_off=was_scheduled and _tell_all(schedules))
    source = " and ".join(sorted({_source(one) for one in entries}))
    enabled = [one for one in entries if one.state != "disabled"]
    read = [_read(one) for one in enabled]
    known = tuple(one for one in read if one is not None)
    # With one that cannot be read beside them, nobody can say what is due first.
    return Told(known if len(known) == len(read) else (), source, is_off=not enabled)


def _source(entry: ScheduleEntry) -> str:
    return "rq cron" if entry.engine == "rq" else entry.kind


def _read(entry: ScheduleEntry) -> Schedule | None:
    is_celerys = entry.engine == "celery"
    try:
        return Schedule.parse(entry.schedule, entry.timezone or None, is_celerys=is_celerys)
    except ValueError:  # by the sun, once, or of a class of their own
        return None


def _tell_all(schedules: Schedules) -> bool:
    up = [one for one in schedules.schedulers if one.entries is not None]
    return any(one.up for one in up) and all((one.entries or 0) <= _MOST_TOLD for one in up)


def next_due(schedules: Iterable[Schedule], moment: float) -> float:
    """When the first of them is due after a moment; there is at least one."""
    return min(schedule.after(moment) for schedule in schedules)
