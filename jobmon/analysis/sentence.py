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


def stopped(command: str, check: Check, many: int) -> str:
    """Of a command that has missed so many starts in a row that it seems to run no more."""
    name = inert(command, _LONGEST_NAME)
    return inert(
        f"{name} seems to have stopped: it has missed {many} starts in a row, and last started "
        f"{span(check.current * 3600)} ago{_every(check)}",
        LONGEST,
    )


def over(command: str, kind: Kind, resolution: str) -> str:
    """What ended an anomaly.

    Args:
        command: Its name.
        kind: Of the anomaly.
        resolution: ``recovered``, ``accepted``, ``superseded``, ``started``, ``ended`` or
            ``given up``.
    """
    name = inert(command, _LONGEST_NAME)
    what = kind.value.replace("_", " ")
    said = {
        "recovered": f"{name} is back to normal: {what} is over",
        "accepted": f"{name} stays as it is, and that counts as normal from now on: {what} is over",
        "superseded": f"{name} differs the other way round by now: {what} is over",
        "started": f"{name} has started again",
        "given up": f"{name} is expected to start no longer",
        "ended": f"the run of {name} that took so long has ended",
    }[resolution]
    return inert(said, LONGEST)


def _slow(name: str, check: Check, jobs: float, _failed: float) -> str:
    return f"{name} took {span(_work(check, jobs))}{_of_runs(check)}; {_usual_time(check, jobs)}"


def _fast(name: str, check: Check, jobs: float, _failed: float) -> str:
    took = f"{name} took only {span(_work(check, jobs))}{_of_runs(check)}"
    return f"{took}; {_usual_time(check, jobs)}"


def _workload(name: str, check: Check, _jobs: float, _failed: float) -> str:
    few = "only " if check.kind is Kind.WORKLOAD_DROP else ""
    had = f"{few}{count(check.current)}" if check.current else "no"
    usual = _range(check, count_unit)
    noun = "job" if check.current == 1 else "jobs"
    return f"{name} had {had} {noun}{_of_runs(check)}; it usually has {usual}{_last(check)}"


def _failures(name: str, check: Check, jobs: float, failed: float) -> str:
    few = "only " if check.kind is Kind.FAILURE_RATE_DROP else ""
    usual = check.baseline.centre
    often = f"usually about {digits(usual)} % fail" if usual >= 0.05 else "usually almost none do"
    how_many = f"{few}{count(failed)} of {count(jobs)} jobs of {name} failed"
    return f"{how_many} ({digits(check.current)} %); {often}{_last(check)}"


def _memory(name: str, check: Check, jobs: float, _failed: float) -> str:
    needed = f"{name} needed {size(check.current)} of memory at its peak{_of_runs(check)}"
    subject = f"runs with about {count(jobs)} jobs usually need" if jobs else "it usually needs"
    return f"{needed}; {subject} {_range(check, bytes_unit)}{_last(check)}"


def _queue(name: str, check: Check, _jobs: float, _failed: float) -> str:
    waited = f"jobs of {name} waited {span(check.current)} in their queue{_of_runs(check)}"
    return f"{waited}; usually they wait {_range(check, time_unit)}{_last(check)}"


def _missed(name: str, check: Check, _jobs: float, _failed: float) -> str:
    last = datetime.fromtimestamp(check.baseline.last_at, UTC)
    since = f"{span(check.current * 3600)}, since {last:%Y-%m-%d %H:%M} UTC"
    return f"{name} has not started for {since}{_every(check)}"


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


def _work(check: Check, jobs: float) -> float:
    """Seconds of the whole run: people see no mean."""
    return check.current * jobs if check.metric == _PER_JOB else check.current


def _usual_time(check: Check, jobs: float) -> str:
    many = jobs if check.metric == _PER_JOB else 1.0
    subject = f"runs with about {count(jobs)} jobs usually take" if jobs else "it usually takes"
    return f"{subject} {_range(check, time_unit, many)}{_last(check)}"


def _of_runs(check: Check) -> str:
    return f" on average of its last {check.runs} runs" if check.runs > 1 else ""


def _every(check: Check) -> str:
    return f"; it usually starts every {span(check.baseline.centre * 3600)}"


def _last(check: Check) -> str:
    return f" (last {_runs(check.baseline.n)})" if check.baseline.n else ""


def _runs(many: int) -> str:
    return "run" if many == 1 else f"{many} runs"


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
