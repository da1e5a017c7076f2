"""How the analysis does on real series: those of the Numenta Anomaly Benchmark (NAB).

They are measurements of machines, prices and roads at equal steps, with the stretches in which
people saw something odd. Here each point is a run that takes so many seconds, judged by those
before it. The series are not part of the repository: a checkout of numenta/NAB has them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from jobmon.analysis.judge import MOST_RUNS, judge
from jobmon.analysis.runs import Floats, Runs
from jobmon.analysis.thresholds import Thresholds

FOLDERS: Final = ("realAWSCloudwatch", "realAdExchange", "realKnownCause", "realTraffic")
_LEARNED: Final = 0.15
"""Share of a series at its begin that NAB does not score."""
_QUIET: Final = 5
"""Alarms with no more points between them are of one cause."""

Detector = Callable[[Runs, int], bool]
"""Whether the run at an index is an anomaly."""


@dataclass(frozen=True, slots=True)
class Score:
    """Of one detector, over some series."""

    windows: int = 0
    found: int = 0
    """Of them, those with an alarm inside."""
    points: int = 0
    """Outside of windows."""
    alarms: int = 0
    """At such points."""
    causes: int = 0
    """Of those alarms."""

    def __add__(self, other: Score) -> Score:
        both = zip(astuple(self), astuple(other), strict=True)
        return Score(*(mine + theirs for mine, theirs in both))


@dataclass(frozen=True, slots=True)
class Series:
    """One of them."""

    starts: Floats
    """Unix seconds."""
    values: Floats
    windows: list[tuple[float, float]]
    """Begin and end of what people saw as odd."""


def series(nab: Path, folder: str) -> Iterator[Series]:
    """Those of one of `FOLDERS` of a checkout of numenta/NAB."""
    labels = json.loads((nab / "labels" / "combined_windows.json").read_text())
    for path in sorted((nab / "data" / folder).glob("*.csv")):
        with path.open(newline="") as file:
            read = csv.DictReader(file)
            rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in read]
        starts, values = np.array(sorted(rows)).T
        windows = labels[f"{folder}/{path.name}"]
        yield Series(starts, values, [(_seconds(begin), _seconds(end)) for begin, end in windows])


def by_jobmon(runs: Runs, at: int) -> bool:
    """The product's own, with its default thresholds."""
    return bool(judge(runs.first(at), runs.run(at), Thresholds()).anomalies)


def by_average(runs: Runs, at: int) -> bool:
    """The run against the plain average of those before it, 50 % above or below."""
    usual = float(runs.work_seconds[max(0, at - MOST_RUNS) : at].mean())
    return abs(float(runs.work_seconds[at]) - usual) > abs(usual) / 2


def score(one: Series, detect: Detector) -> Score:
    """Judge every point but the first ones."""
    n = len(one.values)
    first = int(_LEARNED * n)
    ones, unknown = np.ones(n), np.full(n, np.nan)
    runs = Runs(one.starts, one.values, one.values, ones, np.zeros(n), unknown, unknown)
    is_alarm = np.array([at >= first and detect(runs, at) for at in range(n)])
    is_outside = np.arange(n) >= first
    windows = found = 0
    for begin, end in one.windows:
        within = (one.starts >= begin) & (one.starts <= end)
        is_outside &= ~within
        windows += bool(within[first:].any())
        found += bool((within & is_alarm).any())
    alarms = np.flatnonzero(is_alarm & is_outside)
    causes = np.count_nonzero(np.diff(alarms) > _QUIET + 1) + bool(len(alarms))
    return Score(windows, found, int(np.count_nonzero(is_outside)), len(alarms), int(causes))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
