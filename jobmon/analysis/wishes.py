"""What the configuration wants of the analysis of a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

from jobmon.analysis.incidents import Rules
from jobmon.analysis.schedules import Schedule
from jobmon.analysis.thresholds import Thresholds

if TYPE_CHECKING:
    from jobmon.settings import Settings


@dataclass(frozen=True, slots=True)
class Wishes:
    """Those of one command, or of all that have none of their own."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    rules: Rules = field(default_factory=Rules)
    owner: str | None = None
    zone: tzinfo = UTC
    """Of its hours and weekdays."""
    schedule: Schedule | None = None
    start_margin_seconds: float | None = None
    maximum_run_time_seconds: float | None = None


def wishes(settings: Settings) -> Wishes:
    """Those of a command."""
    mode = settings.analyze_mode
    return Wishes(
        Thresholds(
            slower=mode.performance_threshold,
            faster=mode.performance_threshold_lower,
            more_jobs=mode.job_count_threshold,
            fewer_jobs=mode.job_count_threshold_lower,
            more_failures=mode.failed_jobs_threshold,
            fewer_failures=mode.failed_jobs_threshold_lower,
        )
    )
