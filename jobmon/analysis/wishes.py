"""What the configuration wants of the analysis of a command."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, NamedTuple

from jobmon.analysis.incidents import Rules
from jobmon.analysis.schedules import Schedule, declared, zone_of
from jobmon.analysis.thresholds import Thresholds
from jobmon.settings import for_command

if TYPE_CHECKING:
    from jobmon.settings import Settings


class Wishes(NamedTuple):
    """Those of one command."""

    thresholds: Thresholds
    rules: Rules
    owner: str | None
    zone: tzinfo
    """Of its hours and weekdays, unless a scheduler tells a better one."""
    is_own_zone: bool
    """It was set for this command: nobody else is asked."""
    schedule: Schedule | None
    """Declared here, whatever a scheduler tells."""
    silence_seconds: float
    """After which a command that runs regularly is missed, where no schedule is known."""
    start_margin_seconds: float | None
    maximum_run_time_seconds: float | None


def wishes(settings: Settings, command: str) -> Wishes:
    """Those of a command: its own, else those of all. `refuse_unreadable` was called before."""
    own = for_command(settings, command)
    return Wishes(
        thresholds=Thresholds.of(settings.analyze_mode, own),
        rules=Rules(own.failures_to_open, own.successes_to_resolve, own.mute),
        owner=own.owner,
        zone=zone_of(own.timezone or settings.analyze_mode.timezone),
        is_own_zone=own.timezone is not None,
        schedule=declared(own, settings.analyze_mode.timezone),
        silence_seconds=settings.analyze_mode.missed_execution_threshold_hours * 3600,
        start_margin_seconds=own.start_margin_seconds,
        maximum_run_time_seconds=own.maximum_run_time_seconds,
    )
