"""An anomaly in one sentence that needs no explanation at night."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.units import (
    bytes_unit,
    count,
    count_unit,
    digits,
    many,
    size,
    span,
    time_unit,
)
from jobmon.inert import inert

LONGEST: Final = 500
_LONGEST_NAME: Final = 120
_PER_JOB: Final = "avg_job_time"


def sentence(command: str, check: Check, jobs: float = 0.0, failed: float = 0.0) -> str:
    """What differs, by how much, and from what: at most 500 characters.

    Args:
        command: Its name, whatever characters it is of.
        check: The anomaly.
        jobs: Of the run.
        failed: Of them.
    """
    name = inert(command, _LONGEST_NAME)
    return inert(_SENTENCES[check.kind](name, check, jobs, failed), LONGEST)


def stopped(command: str, check: Check, times: int) -> str:
    """Of a command that has missed so many starts in a row, or more, that it seems to be over."""
    name = inert(command, _LONGEST_NAME)
    missed = f"{name} seems to have stopped: it has missed at least {times} starts in a row"
    if check.due is None:
        said = f"{missed}, and last started {span(check.current * 3600)} ago{_every(check)}"
    else:
        said = f"{missed}, the first at {_at(check.due)}; it last started at {_last_start(check)}"
    return inert(said, LONGEST)


def over(command: str, kind: Kind, resolution: str) -> str:
    """What ended an anomaly.

    Args:
        command: Its name.
        kind: Of the anomaly.
        resolution: ``recovered``, ``accepted``, ``superseded``, ``started`` or ``ended``.
    """
    name = inert(command, _LONGEST_NAME)
    what = kind.value.replace("_", " ")
    said = {
        "recovered": f"{name} is back to normal: {what} is over",
        "accepted": f"{name} stays as it is, and that counts as normal from now on: {what} is over",
        "superseded": f"{name} differs the other way round by now: {what} is over",
        "started": f"{name} has started again",
        "ended": f"the run of {name} that took so long has ended",
    }[resolution]
    return inert(said, LONGEST)


def _slow(name: str, check: Check, jobs: float, _failed: float) -> str:
    return _time(name, check, jobs)


def _fast(name: str, check: Check, jobs: float, _failed: float) -> str:
    return _time(name, check, jobs, "only ")


def _time(name: str, check: Check, jobs: float, few: str = "") -> str:
    """Of jobs: what they ran, added up. The run may be over sooner, as they run side by side."""
    if check.metric != _PER_JOB:
        took = f"{name} took {few}{span(check.current)}{_of_runs(check)}"
        return f"{took}; it usually takes {_range(check, time_unit)}{_last(check)}"
    ran = f"ran {few}{span(check.current * jobs)}"
    usual = f"{_range(check, time_unit, jobs)}{_last(check)}"
    if _is_one(jobs):
        ran = f"the job of {name} {ran}{_of_runs(check)}"
        return f"{ran}; in runs with one job it usually runs {usual}"
    ran = f"the {count(jobs)} jobs of {name} {ran} in all{_of_runs(check)}"
    return f"{ran}; those of runs with about as many usually run {usual}"


def _workload(name: str, check: Check, _jobs: float, _failed: float) -> str:
    few = "only " if check.kind is Kind.WORKLOAD_DROP else ""
    number = digits(check.current)
    had = f"{few}{number}" if check.current else "no"
    usual = _range(check, count_unit)
    noun = "job" if number == "1" else "jobs"
    return f"{name} had {had} {noun}{_of_runs(check)}; it usually has {usual}{_last(check)}"


def _failures(name: str, check: Check, jobs: float, failed: float) -> str:
    few = "only " if check.kind is Kind.FAILURE_RATE_DROP else ""
    usual = check.baseline.centre
    often = f"usually about {digits(usual)} % fail" if usual >= 0.05 else "usually almost none do"
    if _is_one(jobs):
        how_many = f"the job of {name} {'failed' if failed else 'did not fail'}"
    elif not failed:
        how_many = f"none of {count(jobs)} jobs of {name} failed"
    else:
        how_many = f"{few}{count(failed)} of {count(jobs)} jobs of {name} failed"
        how_many += f" ({digits(check.current)} %)"
    return f"{how_many}; {often}{_last(check)}"


def _memory(name: str, check: Check, jobs: float, _failed: float) -> str:
    needed = f"{name} needed {size(check.current)} of memory at its peak{_of_runs(check)}"
    alike = "runs with one job" if _is_one(jobs) else f"runs with about {count(jobs)} jobs"
    subject = f"{alike} usually need" if jobs else "it usually needs"
    return f"{needed}; {subject} {_range(check, bytes_unit)}{_last(check)}"


def _queue(name: str, check: Check, jobs: float, _failed: float) -> str:
    waited = f"waited {span(check.current)} in"
    usual = f"{_range(check, time_unit)}{_last(check)}"
    if _is_one(jobs):
        return f"the job of {name} {waited} its queue{_of_runs(check)}; usually it waits {usual}"
    return f"jobs of {name} {waited} their queue{_of_runs(check)}; usually they wait {usual}"


def _missed(name: str, check: Check, _jobs: float, _failed: float) -> str:
    if check.due is None:
        since = f"{span(check.current * 3600)}, since {_last_start(check)}"
        return f"{name} has not started for {since}{_every(check)}"
    late = span(check.baseline.last_at + check.current * 3600 - check.due.timestamp())
    guess = " (inferred from its past runs)" if check.test.startswith("inferred") else ""
    due = f"was due {late} ago, at {_at(check.due)}{guess}, and has not started"
    return f"{name} {due}; it last started at {_last_start(check)}"


def _overdue(name: str, check: Check, _jobs: float, _failed: float) -> str:
    usual = (
        f"it usually takes about {span(check.baseline.centre)}, and " if check.baseline.n else ""
    )
    most = f"{usual}at most {span(check.baseline.high)} is normal"
    return f"{name} has been running for {span(check.current)}; {most}{_last(check)}"


_SENTENCES: Final[dict[Kind, Callable[[str, Check, float, float], str]]] = {
    Kind.PERFORMANCE_DEGRADATION: _slow,
    Kind.PERFORMANCE_IMPROVEMENT: _fast,
    Kind.WORKLOAD_SPIKE: _workload,
    Kind.WORKLOAD_DROP: _workload,
    Kind.FAILURE_RATE_SPIKE: _failures,
    Kind.FAILURE_RATE_DROP: _failures,
    Kind.MEMORY_GROWTH: _memory,
    Kind.QUEUE_TIME_GROWTH: _queue,
    Kind.MISSED_EXECUTION: _missed,
    Kind.OVERDUE_RUN: _overdue,
}


def _is_one(jobs: float) -> bool:
    """As it is written."""
    return count(jobs) == "1"


def _of_runs(check: Check) -> str:
    return f" on average of its last {check.runs} runs" if check.runs > 1 else ""


def _every(check: Check) -> str:
    return f"; it usually starts every {span(check.baseline.centre * 3600)}"


def _last_start(check: Check) -> str:
    zone = UTC if check.due is None else check.due.tzinfo
    return _at(datetime.fromtimestamp(check.baseline.last_at, zone))


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzinfo}"


def _last(check: Check) -> str:
    runs = check.baseline.n
    return f" (last {'run' if runs == 1 else many(runs, 'run')})" if runs else ""


def _range(check: Check, unit_of: Callable[[float], tuple[float, str]], times: float = 1.0) -> str:
    """``4.8–5.6 min``; ``about 5 min`` where both ends look alike, or one is unknown."""
    low, high = (one * times for one in check.usual)
    if not (0 <= low <= high and math.isfinite(high)):
        one, unit = unit_of(check.baseline.centre * times)
        return f"about {digits(check.baseline.centre * times / one)}{unit and ' ' + unit}"
    one, unit = unit_of(high)
    # Of numbers of things, there are no halves.
    written = digits if unit else count
    first, last = written(low / one), written(high / one)
    both = f"about {last}" if first == last else f"{first}–{last}"
    return f"{both}{unit and ' ' + unit}"
