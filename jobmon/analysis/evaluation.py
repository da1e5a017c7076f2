"""One command's turn: its new runs, and its newest, judged by those before each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobmon.analysis.checks import Check, Kind, Verdict
from jobmon.analysis.judge import judge
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.severity import FALLING
from jobmon.analysis.thresholds import Thresholds
from jobmon.history.incidents import Incident
from jobmon.history.runs import CommandKey, Judged, Window

LEAST_NEW: Final = 20
MOST_NEW: Final = 100
"""New runs of one command that are judged in one evaluation; of more, the newest."""


class Answer(NamedTuple):
    """What was asked of one run, as far as it matters."""

    row_id: int
    started_at: float
    """Unix seconds."""
    jobs: float
    failed: float
    is_new: bool
    """Nobody has judged it yet."""
    is_newest: bool
    checks: tuple[Check, ...]
    """Anomalies, and of kinds of which there is an incident, also what is normal."""
    as_before: frozenset[Kind]
    """Kinds in which the run is like those before the incident."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is to be said of one command's runs."""

    key: CommandKey
    runs: Runs
    """Those that have ended, by which others are judged."""
    answers: tuple[Answer, ...]
    """The oldest run first."""
    p_values: tuple[float, ...]
    """Of every test of a run that is new."""
    judged: tuple[Judged, ...]
    is_enough: bool


def evaluate(
    window: Window,
    queue_times: Mapping[str, float],
    incidents: Sequence[Incident],
    thresholds: Thresholds,
    zone: tzinfo = UTC,
    most_new: int = MOST_NEW,
) -> Evaluation:
    """Judge what is new of one command, and its newest run in any case.

    Args:
        window: Its runs.
        queue_times: Of runs that are new, by their ids: mean seconds in a queue.
        incidents: That go on, or may come back.
        thresholds: Of the command.
        zone: Of its hours and weekdays.
        most_new: New runs that are judged; of more, the newest.
    """
    numbers = window.numbers.copy()
    for one in window.unjudged:
        numbers[one.place, -1] = queue_times.get(one.process_id, float("nan"))
    judged = tuple(
        Judged(one.id, one.version, queue_times.get(one.process_id)) for one in window.unjudged
    )
    places = comparable(window)
    runs = Runs(*np.ascontiguousarray(numbers[places].T))
    new = {one.place for one in window.unjudged}
    asked = [at for at, place in enumerate(places) if int(place) in new][-most_new:]
    if len(places) and (not asked or asked[-1] != len(places) - 1):
        asked.append(len(places) - 1)
    verdicts = [(at, _verdict(runs, at, thresholds, zone)) for at in asked]
    kinds = {Kind(one.anomaly_type): _until(one) for one in incidents}
    for _, verdict in verdicts:
        for check in verdict.anomalies:
            kinds.setdefault(check.kind, check.baseline.last_at)
    answers: list[Answer] = []
    for at, verdict in verdicts:
        run = runs.run(at)
        kept = tuple(one for one in verdict.checks if one.kind in kinds)
        before = {kinds[one.kind] for one in kept if not one.is_anomaly}
        answers.append(
            Answer(
                row_id=window.ids[places[at]],
                started_at=run.started_at,
                jobs=run.job_count,
                failed=run.failed_jobs,
                is_new=int(places[at]) in new,
                is_newest=at == len(places) - 1,
                checks=kept,
                as_before=frozenset[Kind]().union(
                    *(_like_before(runs, run, kinds, moment, thresholds, zone) for moment in before)
                ),
            )
        )
    return Evaluation(
        key=window.key,
        runs=runs,
        answers=tuple(answers),
        # What was judged before had its chance: counted again, it would hide what is new.
        p_values=tuple(
            one.p_value
            for at, verdict in verdicts
            if int(places[at]) in new
            for one in verdict.checks
        ),
        judged=judged,
        is_enough=not verdicts or verdicts[-1][1].is_enough,
    )


def comparable(window: Window) -> NDArray[np.intp]:
    """Places of the runs that are judged, and by which others are: those that ended and were seen
    whole. Of a command of which no run was, all that ended."""
    whole = np.flatnonzero(window.is_drained & ~window.is_partial)
    return whole if len(whole) else np.flatnonzero(window.is_drained)


def _until(incident: Incident) -> float | None:
    """Start of the last run before an incident."""
    until = incident.baseline_until
    return None if until is None else until.timestamp()


def _verdict(runs: Runs, at: int, thresholds: Thresholds, zone: tzinfo) -> Verdict:
    return judge(runs.first(at), runs.run(at), thresholds, zone)


def _like_before(
    runs: Runs,
    run: Run,
    kinds: Mapping[Kind, float | None],
    moment: float | None,
    thresholds: Thresholds,
    zone: tzinfo,
) -> frozenset[Kind]:
    """Kinds with an incident after that moment in which the run is as runs were until then."""
    many = 0 if moment is None else int(np.searchsorted(runs.started_at, moment, side="right"))
    verdict = judge(runs.first(many), run, thresholds, zone)
    return frozenset(
        one.kind
        for one in verdict.checks
        if kinds.get(one.kind) == moment
        and (one.ratio > one.threshold if one.kind in FALLING else one.ratio < one.threshold)
    )
