"""What becomes of an incident with each run: it opens, goes on, gets worse, ends, comes back.

Pure: what is known of it and what was seen go in, what is known from now on comes out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final, Literal, NamedTuple

from jobmon.analysis.checks import Kind
from jobmon.analysis.missed import MOST_MISSED
from jobmon.analysis.severity import FALLING, GOOD_NEWS
from jobmon.anomaly import State
from jobmon.history.incidents import REOPENS_WITHIN, Incident

Resolution = Literal["recovered", "accepted", "superseded", "started", "ended", "given up"]

OPPOSITE: Final[dict[Kind, Kind]] = {
    one: other
    for pair in (
        (Kind.PERFORMANCE_DEGRADATION, Kind.PERFORMANCE_IMPROVEMENT),
        (Kind.WORKLOAD_SPIKE, Kind.WORKLOAD_DROP),
        (Kind.FAILURE_RATE_SPIKE, Kind.FAILURE_RATE_DROP),
    )
    for one, other in (pair, pair[::-1])
}
"""Of two kinds, one ends the other."""
_WORSE: Final = 2.0
"""Times the ratio that was told: told once more."""
_MOST_FAILED_PERCENT: Final = 50.0
"""Beyond it, failures are told once more."""


class Rules(NamedTuple):
    """What a command's owner wants."""

    failures_to_open: int = 1
    """Runs in a row that differ."""
    successes_to_resolve: int = 3
    """Runs in a row that do not."""
    is_muted: bool = False
    """Nobody is told."""


class Step(NamedTuple):
    """What is known from now on, and which turn it took."""

    incident: Incident | None
    """None: there never was one."""
    turn: State | None = None
    """None: nobody is told."""


def alarm(known: Incident | None, seen: Incident, rules: Rules) -> Step:
    """A run differs.

    Args:
        known: The incident of its command and kind; None: there is none that could go on.
        seen: What it would be if this run were its first.
        rules: Of its command.
    """
    if known is not None and is_past(known, seen.last_started_at):
        return Step(known)
    now = seen.detected_at
    incident = seen if known is None else _gone_on(known, seen)
    if incident.state == "pending" and incident.occurrences >= rules.failures_to_open:
        incident = replace(incident, state="open")
    if incident.state == "pending" or rules.is_muted:
        return Step(incident)
    if incident.notified_ratio is None:
        told = replace(incident, notified_at=now, notified_ratio=incident.ratio)
        return Step(told, "opened")
    if incident.escalated_at is None and _is_worse(known, incident):
        return Step(replace(incident, escalated_at=now), "escalated")
    return Step(incident)


def normal(
    known: Incident,
    process_id: str,
    started_at: datetime,
    now: datetime,
    rules: Rules,
    *,
    is_as_before: bool,
) -> Step:
    """A run does not differ from those before it.

    Args:
        known: An incident of its command.
        process_id: Of the run.
        started_at: Its start.
        now: This moment.
        rules: Of its command.
        is_as_before: Nor from those before the incident. Otherwise what was strange then has
            become usual.
    """
    if known.last_process_id == process_id or is_past(known, started_at):
        return Step(known)
    if known.state == "pending":
        return Step(None)
    counted = replace(
        known,
        recovering=known.recovering + 1,
        last_process_id=process_id,
        last_started_at=started_at,
    )
    if known.state == "resolved" or counted.recovering < rules.successes_to_resolve:
        return Step(counted)
    return end(counted, "recovered" if is_as_before else "accepted", now)


def end(known: Incident, resolution: Resolution, now: datetime) -> Step:
    """It is over."""
    if known.state == "pending":
        return Step(None)
    # What began with a start that was missing, or with one run, does not come back.
    final = resolution in ("started", "ended", "superseded", "given up")
    over = replace(
        known,
        state="resolved",
        resolved_at=now,
        resolution=resolution,
        recovering=REOPENS_WITHIN if final else 0,
    )
    # Who was told that it began is told that it is over, also of what was muted meanwhile.
    return Step(over, None if known.notified_ratio is None else "resolved")


def is_past(known: Incident, started_at: datetime | None) -> bool:
    """A run started before the last that was counted: it is late, or judged once more."""
    last = known.last_started_at
    return last is not None and started_at is not None and started_at < last


def _gone_on(known: Incident, seen: Incident) -> Incident:
    is_back = known.state == "resolved"
    is_new = is_back or known.last_process_id != seen.last_process_id
    worst = min if Kind(known.anomaly_type) in FALLING else max
    return replace(
        seen,
        anomaly_id=known.anomaly_id,
        process_id=known.process_id,
        baseline_until=known.baseline_until,
        detected_at=known.detected_at,
        state="open" if is_back else known.state,
        worst_ratio=worst(known.worst_ratio, seen.ratio),
        occurrences=max(known.occurrences + is_new, seen.occurrences),
        notified_at=known.notified_at,
        notified_ratio=None if is_back else known.notified_ratio,
        escalated_at=None if is_back else known.escalated_at,
    )


def _is_worse(known: Incident | None, incident: Incident) -> bool:
    told = incident.notified_ratio
    kind = Kind(incident.anomaly_type)
    if told is None or known is None or kind in GOOD_NEWS:
        return False
    if kind is Kind.MISSED_EXECUTION:
        return known.occurrences < MOST_MISSED <= incident.occurrences
    if kind is Kind.FAILURE_RATE_SPIKE and (
        known.current <= _MOST_FAILED_PERCENT < incident.current
    ):
        return True
    if kind in FALLING:
        return incident.ratio * _WORSE <= told
    return incident.ratio >= _WORSE * told
