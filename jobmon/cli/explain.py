"""``jobmon explain``: what is usual for a command, and what that makes of its last runs."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from jobmon import settings as configuration
from jobmon.analysis.checks import Check, Kind, Verdict
from jobmon.analysis.evaluation import comparable
from jobmon.analysis.judge import judge
from jobmon.analysis.missed import Expectation
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.schedules import refuse_unreadable
from jobmon.analysis.severity import severity
from jobmon.analysis.turns import Moment, expectation, moment
from jobmon.analysis.units import many, written
from jobmon.analysis.wishes import Wishes, wishes
from jobmon.cli import Exit, say
from jobmon.cli.numbers import whole
from jobmon.cli.ranges import Scale
from jobmon.cli.tables import console, table
from jobmon.history import database, migrate
from jobmon.history.runs import RunReader, Window
from jobmon.history.schema import tables
from jobmon.inert import inert
from jobmon.settings import Settings
from jobmon.store import connection
from jobmon.store.reader import Reader

_MOST_RUNS: Final = 100
_METRICS: Final = {
    "time": (Kind.PERFORMANCE_DEGRADATION, Kind.PERFORMANCE_IMPROVEMENT),
    "jobs": (Kind.WORKLOAD_SPIKE, Kind.WORKLOAD_DROP),
    "failures": (Kind.FAILURE_RATE_SPIKE, Kind.FAILURE_RATE_DROP),
    "memory": (Kind.MEMORY_GROWTH,),
    "queue": (Kind.QUEUE_TIME_GROWTH,),
}
"""Kinds that ask about each number."""
_LEGEND: Final = (
    "[---|---] what is normal, from its least over what was expected to its most; * the run"
)


class _Judged(NamedTuple):
    """A run, and what the runs before it make of it."""

    run: Run
    verdict: Verdict


class _Explained(NamedTuple):
    """A command, and what is to be said of it."""

    window: Window
    judged: list[_Judged]
    awaited: Expectation | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("command_name", metavar="COMMAND", help="name of a command")
    parser.add_argument(
        "--metric",
        choices=tuple(_METRICS),
        default="time",
        help="the number that is drawn (default: time, per job)",
    )
    parser.add_argument(
        "--runs",
        type=whole(_MOST_RUNS),
        default=20,
        metavar="N",
        help="of the last N runs, at most 100: 20",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Judge its last runs, each by those before it, and show the numbers.

    Returns:
        0; 1 when it did not run within ``analyze_mode.retention_days``, and a year before.
    """
    settings = configuration.load()
    refuse_unreadable(settings)
    migrate.prepare(settings)
    name = args.command_name
    since = datetime.now(UTC) - timedelta(days=settings.analyze_mode.retention_days)
    engine = database.connect(settings)
    try:
        reader = RunReader(engine, tables(settings.database.table_prefix))
        ((_, windows),) = reader.windows([name], since)
        if not isinstance(windows, list):
            raise windows
    finally:
        engine.dispose()
    windows = [one for one in windows if one.is_drained.any()]
    if not windows:
        say(f'No runs found for command "{inert(name)}".')
        return Exit.FAILED
    with connection.connect(settings) as client:
        this = moment(Reader(client, settings))
    found = [_explained(one, args.runs, this, settings) for one in windows]
    if args.format == "json":
        print(json.dumps({"commands": [_as_json(one) for one in found]}, indent=2))
    else:
        for one in found:
            console().print(_shown(one, args.metric, settings))
    return Exit.DONE


def _explained(window: Window, last: int, this: Moment, settings: Settings) -> _Explained:
    wanted = wishes(settings, window.key.command)
    wanted = wanted._replace(zone=this.zone(window.key, wanted))
    return _Explained(window, _judged(window, last, wanted), expectation(this, window, wanted))


def _judged(window: Window, last: int, wanted: Wishes) -> list[_Judged]:
    """The last runs, the newest last."""
    runs = Runs(*np.ascontiguousarray(window.numbers[comparable(window)].T))
    return [
        _Judged(one, judge(runs.first(at), one, wanted.thresholds, wanted.zone))
        for at in range(max(0, len(runs) - last), len(runs))
        for one in (runs.run(at),)
    ]


def _shown(found: _Explained, metric: str, settings: Settings) -> RenderableType:
    key = found.window.key
    compared = len(comparable(found.window))
    title = f"{inert(key.command)} ({inert(key.app)}, {inert(key.environment)}): "
    title += f"{many(compared, 'run')} in "
    # Of one that runs rarely, more are read.
    first = datetime.fromtimestamp(float(found.window.numbers[0, 0]), UTC)
    days = (datetime.now(UTC) - first).days + 1
    title += f"the last {max(days, settings.analyze_mode.retention_days)} days"
    if left_out := int(found.window.is_drained.sum()) - compared:
        title += f", {left_out} more seen only in part"
    kinds = _METRICS[metric]
    drawn = [(one, _check(one.verdict, kinds)) for one in found.judged]
    scale = Scale.over(
        number
        for _, check in drawn
        if check is not None
        for number in (check.baseline.low, check.baseline.high, check.current)
    )
    made = table(title, "run", "jobs", "failed", metric, "usual", "", "verdict")
    for one, check in drawn:
        began = datetime.fromtimestamp(one.run.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        made.add_row(
            began,
            f"{one.run.job_count:.0f}",
            f"{one.run.failed_jobs:.0f}",
            "-" if check is None else written(check.metric, check.current),
            "-" if check is None else _usual(check),
            Text("" if check is None else _drawn(scale, check)),
            _word(one.verdict),
        )
    return Group(made, Text(_LEGEND, style="dim"), Text(_due(found.awaited)), Text())


def _due(awaited: Expectation | None) -> str:
    if awaited is None:
        return "No schedule is known, and none can be inferred."
    due, late = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        for at in (awaited.due_at, awaited.late_at)
    )
    state = "missed" if awaited.is_missed else "missed if it has not started"
    return f"The next run is due at {due}, {state} by {late} ({awaited.source})."


def _check(verdict: Verdict, kinds: Sequence[Kind]) -> Check | None:
    """What was asked about a number; of two questions, the one that was answered with yes."""
    found = [one for one in verdict.checks if one.kind in kinds]
    return max(found, key=lambda one: one.is_anomaly, default=None)


def _drawn(scale: Scale, check: Check) -> str:
    usual = check.baseline
    return scale.drawn(usual.low, usual.centre, usual.high, check.current)


def _usual(check: Check) -> str:
    return " to ".join(written(check.metric, one) for one in check.usual)


def _word(verdict: Verdict) -> Text:
    if not verdict.is_enough:
        return Text("not enough history", "dim")
    if not verdict.anomalies:
        return Text("normal", "green")
    words = (f"{severity(one).upper()} {one.kind}" for one in verdict.anomalies)
    return Text(", ".join(words), "red")


def _as_json(found: _Explained) -> dict[str, object]:
    awaited = found.awaited
    return {
        **found.window.key._asdict(),
        "expected": None
        if awaited is None
        else {"due_at": awaited.due_at, "late_at": awaited.late_at, "source": awaited.source},
        "runs": [
            {
                **{name: _finite(value) for name, value in one.run._asdict().items()},
                "is_enough": one.verdict.is_enough,
                "checks": [_check_as_json(check) for check in one.verdict.checks],
            }
            for one in found.judged
        ],
    }


def _check_as_json(check: Check) -> dict[str, object]:
    found = asdict(check)
    del found["due"]  # no run's
    numbers: dict[str, object] = found["baseline"]
    found["baseline"] = {name: _finite(value) for name, value in numbers.items()}
    return {name: _finite(value) for name, value in found.items()}


def _finite(value: object) -> object:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
