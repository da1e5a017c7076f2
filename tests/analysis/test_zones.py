"""Whose hours and weekdays they are, and what a change of the clocks makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from jobmon.analysis.turns import Moment, expectation, turn
from jobmon.analysis.wishes import Wishes, wishes
from jobmon.history.runs import CommandKey, Unjudged, Window
from jobmon.settings import Settings
from jobmon.settings.per_command import Commands, PerCommand
from jobmon.settings.schema import AnalyzeMode
from jobmon.store.schedules import ScheduleEntry, Schedules

KEY = CommandKey("default", "production", "data:process")
BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAYS = 3600.0, 86_400.0
CHANGES = {"spring": "2026-03-29T01:00Z", "autumn": "2026-10-25T01:00Z"}


def wanted(own: str | None = None, general: str = "UTC") -> Wishes:
    table = Commands({KEY.command: PerCommand(timezone=own)})
    settings = Settings(analyze_mode=AnalyzeMode(timezone=general, commands=table))
    return wishes(settings, KEY.command)


def entry(schedule: str, zone: str) -> ScheduleEntry:
    about: dict[str, Any] = dict.fromkeys(ScheduleEntry.__dataclass_fields__)
    about |= {"engine": "celery", "kind": "beat", "name": KEY.command, "app": KEY.app}
    about |= {"schedule": schedule, "timezone": zone, "state": "ok"}
    return ScheduleEntry(**about)


def told(*entries: ScheduleEntry, now: float = 0.0) -> Moment:
    schedules = {(KEY.app, KEY.command): Schedules(entries=entries)}
    at = datetime.fromtimestamp(now, UTC)
    return Moment(now, at, now, {}, schedules, Schedules())


def window(starts: list[float], seconds: list[float]) -> Window:
    many = len(starts)
    columns = [starts, seconds, seconds, *([[0.0] * many] * 2), *([[np.nan] * many] * 2)]
    return Window(
        *(KEY, range(many), np.array(columns).T, np.ones(many, bool), np.zeros(many, bool)),
        *([Unjudged(many - 1, many - 1, "newest", 1)], False),
    )


def alarms(changed_at: float, this: Moment, wishes: Wishes) -> int:
    """Of 72 hourly runs after a change of the clocks, three times as long in Berlin's day."""
    rng = np.random.default_rng(1)
    starts = [changed_at + at * HOUR for at in range(-21 * 24, 72)]
    seconds = [
        10 * (3 if 8 <= datetime.fromtimestamp(at, BERLIN).hour < 18 else 1) * noise
        for at, noise in zip(starts, np.exp(0.05 * rng.standard_normal(len(starts))), strict=True)
    ]
    found = 0
    for end in range(len(starts) - 71, len(starts) + 1):
        first = max(0, end - 300)
        made = turn(
            *(this, window(starts[first:end], seconds[first:end]), {}, (), wishes),
            looks_for_missed=False,
        )
        found += any(one.is_anomaly for one in made.answers[-1].checks) if made.answers else 0
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_clocks_is_no_change_where_the_zone_is_known(change: str) -> None:
    changed_at = datetime.fromisoformat(change).timestamp()
    hourly = entry("0 * * * *", "Europe/Berlin")
    assert alarms(changed_at, told(), wanted()) > 5
    assert alarms(changed_at, told(), wanted(own="Europe/Berlin")) == 0
    assert alarms(changed_at, told(hourly), wanted()) == 0
    assert alarms(changed_at, told(), wanted(general="Europe/Berlin")) == 0


@pytest.mark.parametrize(
    ("own", "entries", "general", "zone"),
    [
        ("Asia/Tokyo", [("0 * * * *", "Europe/Berlin")], "America/Lima", "Asia/Tokyo"),
        (None, [("0 * * * *", "Europe/Berlin")], "America/Lima", "Europe/Berlin"),
        (None, [], "America/Lima", "America/Lima"),
        ("UTC", [("0 * * * *", "Europe/Berlin")], "America/Lima", "UTC"),
        # UTC is what schedulers have where nobody set any; an interval is in none.
        (None, [("0 * * * *", "UTC")], "America/Lima", "America/Lima"),
        (None, [("0 * * * *", "Etc/UTC")], "America/Lima", "America/Lima"),
        (None, [("every 60 s", "Europe/Berlin")], "America/Lima", "America/Lima"),
        (None, [("every 60 s", ""), ("0 4 * * *", "Europe/Berlin")], "UTC", "Europe/Berlin"),
        (None, [], "UTC", "UTC"),
    ],
)
def test_the_commands_own_zone_goes_before_its_schedulers_and_that_before_the_general_one(
    own: str | None, entries: list[tuple[str, str]], general: str, zone: str
) -> None:
    this = told(*(entry(*one) for one in entries))
    assert str(this.zone(KEY, wanted(own, general))) == zone


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_inferred_is_in_the_general_zone_too(change: str) -> None:
    nine = datetime.fromisoformat(change).astimezone(BERLIN).replace(hour=9)
    starts = [(nine - timedelta(days=ago)).timestamp() for ago in range(20, 0, -1)]
    given = window(starts, [10.0] * len(starts))
    for general, due_at in (("Europe/Berlin", nine.timestamp()), ("UTC", starts[-1] + DAYS)):
        awaited = expectation(told(now=starts[-1] + HOUR), given, wanted(general=general))
        assert awaited is not None
        assert awaited.due_at == due_at


def test_a_declared_schedule_that_names_no_zone_is_in_the_general_one() -> None:
    settings = Settings(
        analyze_mode=AnalyzeMode(
            timezone="Asia/Tokyo",
            commands=Commands(
                {
                    "a": PerCommand(schedule="0 4 * * *"),
                    "b": PerCommand(schedule="0 4 * * *", timezone="UTC"),
                }
            ),
        )
    )
    found = [wishes(settings, name).schedule for name in ("a", "b")]
    assert [one and str(one.zone) for one in found] == ["Asia/Tokyo", "UTC"]
