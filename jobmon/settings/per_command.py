"""Settings of single commands: ``analyze_mode.commands``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from jobmon.settings import parse
from jobmon.settings.parse import Rule

if TYPE_CHECKING:
    from jobmon.settings.schema import Settings

_MOST: Final = 1000
_FIVE_FIELDS: Final = r"(?:[\w*,/#?-]+\s+){4}[\w*,/#?-]+"
_SPECIAL: Final = "@(?:hourly|daily|midnight|weekly|monthly|yearly|annually)"
_EVERY: Final = r"every\s+(?:[0-9.]+\s*)?(?:s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)"


class PerCommand(NamedTuple):
    """What is set for one command. None: nothing, the general setting or the default applies."""

    mute: bool = False
    """Judge it, and keep what comes out, but tell nobody."""
    schedule: str | None = None
    """A cron line, or ``every 15 minutes``."""
    timezone: str | None = None
    """Of its hours and weekdays, and of its schedule. None: the scheduler's, or the general one."""
    start_margin_seconds: float | None = None
    """How late a start may be."""
    maximum_run_time_seconds: float | None = None
    """How long a run may take."""
    failures_to_open: int = 1
    """Runs in a row with the same anomaly before it is opened."""
    successes_to_resolve: int = 3
    """Runs in a row without it before it is resolved."""
    performance_threshold: float | None = None
    performance_threshold_lower: float | None = None
    failed_jobs_threshold: float | None = None
    failed_jobs_threshold_lower: float | None = None
    job_count_threshold: float | None = None
    job_count_threshold_lower: float | None = None
    memory_threshold: float | None = None
    queue_time_threshold: float | None = None
    owner: str | None = None
    """Whom to tell, in any words."""


_UNSET: Final = PerCommand()


class _Pattern(NamedTuple):
    text: str
    fits: Callable[[str], object]
    exactness: tuple[int, int]


class Commands(Mapping[str, PerCommand]):
    """Settings by the command's name or a shell pattern. Never changed."""

    __slots__ = ("_patterns", "_table")

    def __init__(self, table: Mapping[str, PerCommand] | None = None) -> None:
        self._table = dict(table or {})
        self._patterns: tuple[_Pattern, ...] | None = None

    def __getitem__(self, name: str) -> PerCommand:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __hash__(self) -> int:
        return hash(frozenset(self._table))

    def __repr__(self) -> str:
        return repr(self._table)

    @property
    def names(self) -> frozenset[str]:
        """Those that are no patterns."""
        return frozenset(self._table) - {one.text for one in self.patterns}

    @property
    def patterns(self) -> tuple[_Pattern, ...]:
        """Its names, ready to be matched."""
        if self._patterns is None:
            self._patterns = tuple(
                _Pattern(text, re.compile(translate(text)).match, _exactness(text))
                for text in self._table
                if re.search(r"[*?[]", text)
            )
        return self._patterns


def more() -> Rule[float]:
    """A ratio above 1: so much more counts."""
    return _ratio(1.0, 1000.0, "a number above 1, at most 1000")


def less() -> Rule[float]:
    """A ratio below 1: so much less counts."""

    def check(raw: object) -> float:
        value = number(raw)
        if value >= 1:
            raise ValueError
        return value

    number = parse.number(0, 1)
    return Rule("a number from 0 to below 1", check)


def hours() -> Rule[float]:
    """More than no time, up to a year."""
    return _ratio(0.0, 8760.0, "a number of hours above 0, at most 8760")


def _ratio(above: float, most: float, allowed: str) -> Rule[float]:
    number = parse.number(above, most)

    def check(raw: object) -> float:
        value = number(raw)
        if value <= above:
            raise ValueError
        return value

    return Rule(allowed, check)


def zone() -> Rule[str]:
    """A time zone by its name, as IANA has it."""
    return parse.text(64, allowed="a time zone such as Europe/Berlin", check=_zone)


def _zone(value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):  # also where it names a folder
        raise ValueError(f"there is no time zone {value}") from None
    return value


_MEMBERS: Final[dict[str, Rule[object]]] = {
    "mute": parse.boolean(),
    "schedule": parse.text(
        255,
        pattern=f"\\s*(?:{_FIVE_FIELDS}|(?i:{_SPECIAL}|{_EVERY}))\\s*",
        allowed='a cron line of five fields, @daily and the like, or such as "every 15 minutes"',
    ),
    "timezone": zone(),
    "start_margin_seconds": parse.number(0, 2_678_400, "s"),
    "maximum_run_time_seconds": parse.number(1, 31_536_000, "s"),
    "failures_to_open": parse.whole(1, 100),
    "successes_to_resolve": parse.whole(1, 100),
    "performance_threshold": more(),
    "performance_threshold_lower": less(),
    "failed_jobs_threshold": more(),
    "failed_jobs_threshold_lower": less(),
    "job_count_threshold": more(),
    "job_count_threshold_lower": less(),
    "memory_threshold": more(),
    "queue_time_threshold": more(),
    "owner": parse.text(255),
}


def commands() -> Rule[Commands]:
    """A table of tables by the command's name or a shell pattern; as text, a JSON object."""
    pattern = parse.shell_pattern()

    def check(raw: object) -> Commands:
        table = _table(_decoded(raw) if isinstance(raw, str) else raw, "it")
        if len(table) > _MOST:
            raise ValueError(f"it has {len(table)} commands")
        values: dict[str, PerCommand] = {}
        for name, members in table.items():
            try:
                pattern(name)
            except ValueError as error:
                detail = f": {error}" if str(error) else ""
                raise ValueError(f"{name!r} is not allowed as a name{detail}") from None
            values[name] = _one(name, members)
        return Commands(values)

    return Rule(
        f"a table of at most {_MOST} commands, such as "
        '{"reports:*" = {schedule = "0 4 * * *", owner = "finance"}}, each with any of '
        f"{', '.join(_MEMBERS)}",
        check,
    )


def _decoded(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not a JSON object") from None


def _table(raw: object, what: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{what} must be a table")
    return cast("Mapping[str, object]", raw)


def _one(name: str, raw: object) -> PerCommand:
    values: dict[str, Any] = {}
    for member, value in _table(raw, name).items():
        rule = _MEMBERS.get(member)
        if rule is None:
            raise ValueError(f"{name}: no such setting {member}{_nearest(member)}")
        try:
            values[member] = rule(value)
        except ValueError as error:
            detail = f" ({error})" if str(error) else ""
            raise ValueError(
                f"{name}: {member} is not allowed{detail}; expected {rule.allowed}"
            ) from None
    return PerCommand(**values)


def _nearest(member: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(member, _MEMBERS, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _exactness(pattern: str) -> tuple[int, int]:
    literal = re.sub(r"\[!?\]?[^\]]*\]|[*?]", "", pattern)
    return len(literal), -pattern.count("*")


def for_command(settings: Settings, name: str) -> PerCommand:
    """What ``analyze_mode.commands`` sets for a command: one table of it, whole, or nothing.

    That of its name, else that of the pattern with most characters that are no wildcards.
    """
    table = settings.analyze_mode.commands
    if name in table:
        return table[name]
    fitting = [pattern for pattern in table.patterns if pattern.fits(name)]
    return table[max(fitting, key=lambda one: one.exactness).text] if fitting else _UNSET
