"""What becomes of incidents, run by run, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobmon.analysis.checks import Kind
from jobmon.analysis.incidents import OPPOSITE, Rules, Step, alarm, end, normal
from jobmon.analysis.missed import MOST_MISSED
from jobmon.history.incidents import REOPENS_WITHIN, Incident

NOW = datetime(2025, 8, 3, 12, tzinfo=UTC)
USUAL = Rules()
SLOW, FAST = Kind.PERFORMANCE_DEGRADATION, Kind.PERFORMANCE_IMPROVEMENT


def seen(at: int = 1, ratio: float = 2.0, kind: Kind = SLOW, **more: Any) -> Incident:
    """What the run of that number would begin."""
    return Incident(
        anomaly_id=f"anomaly {at}",
        command_name="c",
        app="default",
        environment="production",
        process_id=f"run {at}",
        anomaly_type=str(kind),
        metric="avg_job_time",
        current=10 * ratio,
        baseline_avg=10.0,
        severity="low",
        change_percent=100 * (ratio - 1),
        threshold=1.5,
        details={},
        detected_at=NOW + timedelta(hours=at),
        summary=f"run {at} is slow",
        ratio=ratio,
        worst_ratio=ratio,
        p_value=1e-6,
        test="t",
        baseline_runs=60,
        trace_id=None,
        last_seen_at=NOW + timedelta(hours=at),
        last_process_id=f"run {at}",
        last_started_at=NOW + timedelta(hours=at),
        baseline_until=NOW,
        **more,
    )


def lived(runs: str, rules: Rules = USUAL, kind: Kind = SLOW) -> list[str | None]:
    """Turns of one incident: of ``runs`` each letter is one.

    ``x`` differs by 2, ``X`` by 5, ``.`` is normal and like before, ``,`` normal, but not like
    before. A capital ``N`` is no run, but the same one judged once more.
    """
    known: Incident | None = None
    turns: list[str | None] = []
    at = 0
    for one in runs:
        at += one != "N"
        if one in "xXN":
            ratio = {"x": 2.0, "X": 5.0, "N": 2.0}[one]
            step = alarm(known, seen(at, 1 / ratio if kind is FAST else ratio, kind), rules)
        elif known is None:
            step = Step(None)
        else:
            when = NOW + timedelta(hours=at)
            step = normal(known, f"run {at}", when, when, rules, is_as_before=one == ".")
        known = step.incident
        if known is not None and known.state == "resolved" and known.recovering >= REOPENS_WITHIN:
            known = None  # is read no more
        turns.append(step.turn)
    return turns


OPENED, ESCALATED, RESOLVED = "opened", "escalated", "resolved"


@pytest.mark.parametrize(
    ("runs", "rules", "turns"),
    [
        ("x", USUAL, [OPENED]),
        ("xxx", USUAL, [OPENED, None, None]),
        ("xX", USUAL, [OPENED, ESCALATED]),
        ("xXX", USUAL, [OPENED, ESCALATED, None]),
        ("Xx", USUAL, [OPENED, None]),
        ("x..", USUAL, [OPENED, None, None]),
        ("x...", USUAL, [OPENED, None, None, RESOLVED]),
        ("x..x...", USUAL, [OPENED, None, None, None, None, None, RESOLVED]),
        ("x.", Rules(successes_to_resolve=1), [OPENED, RESOLVED]),
        # Again within five runs: the same.
        ("x...x", USUAL, [OPENED, None, None, RESOLVED, OPENED]),
        ("x...X", USUAL, [OPENED, None, None, RESOLVED, OPENED]),
        ("x.......x", USUAL, [OPENED, None, None, RESOLVED, None, None, None, None, OPENED]),
        ("x........x", USUAL, [OPENED, None, None, RESOLVED, None, None, None, None, None, OPENED]),
        # As many in a row as its owner wants.
        ("xx", Rules(failures_to_open=2), [None, OPENED]),
        ("x.x", Rules(failures_to_open=2), [None, None, None]),
        ("x.xx", Rules(failures_to_open=2), [None, None, None, OPENED]),
        ("xNx", Rules(failures_to_open=3), [None, None, None]),
        # The same run once more is no other.
        ("xN", USUAL, [OPENED, None]),
        # Nobody is told, not even of its end.
        ("xX...", Rules(is_muted=True), [None] * 5),
    ],
)
def test_turns(runs: str, rules: Rules, turns: list[str | None]) -> None:
    assert lived(runs, rules) == turns


def test_good_news_are_told_once_however_good() -> None:
    assert lived("xX", kind=FAST) == [OPENED, None]


def after(*runs: Incident) -> Incident:
    known: Incident | None = None
    for one in runs:
        known = alarm(known, one, USUAL).incident
    assert known is not None
    return known


def test_what_goes_on_keeps_its_begin_and_its_worst_and_takes_the_latest_numbers() -> None:
    known = after(seen(1), seen(2, 3.5), seen(3, 2.5))
    assert (known.anomaly_id, known.process_id, known.detected_at) == (
        *("anomaly 1", "run 1"),
        NOW + timedelta(hours=1),
    )
    assert (known.occurrences, known.worst_ratio, known.ratio) == (3, 3.5, 2.5)
    assert (known.last_process_id, known.last_seen_at) == ("run 3", NOW + timedelta(hours=3))
    assert (known.current, known.summary) == (25.0, "run 3 is slow")


def test_the_worst_of_what_falls_is_the_least() -> None:
    assert after(seen(1, 0.5, FAST), seen(2, 0.2, FAST), seen(3, 0.4, FAST)).worst_ratio == 0.2


@pytest.mark.parametrize(("as_before", "resolution"), [(True, "recovered"), (False, "accepted")])
def test_an_end_says_whether_all_is_as_before_or_the_level_has_moved(
    as_before: bool, resolution: str
) -> None:
    known = after(seen(1))
    for at in (2, 3, 4):
        when = NOW + timedelta(hours=at)
        step = normal(known, f"run {at}", when, NOW, USUAL, is_as_before=as_before)
        assert step.incident is not None
        known = step.incident
    assert (known.state, known.resolution, known.resolved_at) == ("resolved", resolution, NOW)


def test_a_late_run_neither_ends_an_incident_nor_brings_it_back() -> None:
    known = after(seen(1), seen(5))
    for step in (
        alarm(known, seen(3), USUAL),
        normal(known, "run 2", NOW + timedelta(hours=2), NOW, USUAL, is_as_before=True),
    ):
        assert step == Step(known)
    over = end(known, "recovered", NOW).incident
    assert over is not None
    assert alarm(over, seen(1), USUAL) == Step(over)
    assert alarm(over, seen(6), USUAL).turn == OPENED


def test_failures_of_most_jobs_are_told_once_more() -> None:
    kind = Kind.FAILURE_RATE_SPIKE
    first = replace(seen(1, 20, kind), current=30.0)
    known = alarm(None, first, USUAL).incident
    same = alarm(known, replace(seen(2, 25, kind), current=49.0), USUAL)
    assert same.turn is None
    assert alarm(same.incident, replace(seen(3, 30, kind), current=51.0), USUAL).turn == ESCALATED


def test_one_that_was_muted_is_told_of_as_soon_as_it_is_not() -> None:
    muted = alarm(None, seen(1), Rules(is_muted=True)).incident
    assert muted is not None
    assert (muted.state, muted.notified_at) == ("open", None)
    assert alarm(muted, seen(2), USUAL).turn == OPENED
    assert end(muted, "recovered", NOW).turn is None


def test_starts_that_are_missing_are_told_of_once_and_once_more_when_it_seems_to_have_stopped() -> (
    None
):
    kind = Kind.MISSED_EXECUTION
    known: Incident | None = None
    turns: list[str | None] = []
    for missing in (1, 1, 2, MOST_MISSED, MOST_MISSED):
        step = alarm(known, seen(1, 2.0 * missing, kind, occurrences=missing), USUAL)
        known = step.incident
        turns.append(step.turn)
    assert turns == [OPENED, None, None, ESCALATED, None]
    assert known is not None
    assert known.occurrences == MOST_MISSED


def test_what_ended_by_a_start_or_an_end_does_not_come_back() -> None:
    for resolution in ("started", "ended", "superseded", "given up"):
        step = end(after(seen(1)), resolution, NOW)
        assert step.turn == RESOLVED
        assert step.incident is not None
        assert step.incident.recovering >= REOPENS_WITHIN


def test_opposites_are_of_each_other() -> None:
    assert OPPOSITE[SLOW] is FAST
    assert all(OPPOSITE[OPPOSITE[kind]] is kind for kind in OPPOSITE)
