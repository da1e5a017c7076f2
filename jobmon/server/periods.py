"""The days that were asked for, as moments."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from jobmon.answers.period import Period
from jobmon.server.query import MOST_DAYS, integer
from jobmon.server.responses import timestamp

DAYS = integer(1, MOST_DAYS)
DAYS_TEXT = "How many days before today, in UTC."


def period(days: int) -> tuple[datetime, Period]:
    """The midnight in UTC that many days before today, and what is shown of it and of now."""
    now = datetime.now(UTC)
    since = datetime.combine(now.date() - timedelta(days=days), time(), UTC)
    return since, Period(timestamp(since), timestamp(now), days)
