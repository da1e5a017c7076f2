"""How well runs are judged: the product beside the naive comparison with an average.

``anombench`` is a labelled benchmark of detectors that is not part of the repository. `detect` and
`detect_many` are the interface that it calls; with its file given, its parts are run over several
seeds, and real series are judged too; the page has both:

    python -m benchmarks.anomalies --anombench anombench.py --nab NAB --page
    python anombench.py --detector benchmarks.anomalies:detect
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np

from benchmarks import nab, page
from jobmon.analysis import change, discoveries, errors, judge, modes, season, size, sustained
from jobmon.analysis import growth as leaks
from jobmon.analysis.checks import Check, Kind
from jobmon.analysis.missed import expected, missed
from jobmon.analysis.overdue import overdue
from jobmon.analysis.runs import Run, Runs
from jobmon.analysis.thresholds import Thresholds

PAGE: Final = page.FOLDER / "anomalies.md"
THRESHOLDS: Final = Thresholds(
    slower=1.25,
    faster=0.8,
    more_jobs=1.5,
    fewer_jobs=1 / 1.5,
    more_memory=1.2,
    longer_queue=1.5,
)
"""What the benchmark counts as an effect is less than the product's defaults."""
_SILENCE_SECONDS: Final = 86_400.0
"""Of a command without a schedule: the product's default."""
SEEDS: Final = (1, 2, 3)

_NAMES: Final = {kind: kind.value for kind in Kind} | {Kind.FAILURE_RATE_SPIKE: "failure_rate"}
_UNASKED: Final = Kind.FAILURE_RATE_DROP
_CERTAIN: Final = frozenset((Kind.MISSED_EXECUTION, Kind.OVERDUE_RUN))
"""Found by the clock, not by a test."""

Given = Mapping[str, Any]
Said = list[dict[str, Any]]
Case = tuple[Sequence[Given], Given, float]


def _nothing_of_time(y: Any, *_: object) -> season.Season:
    return season.Season(np.zeros(len(y)), 0.0)


def _nothing_of_size(y: Any, *_: object) -> size.Size:
    return size.Size(np.zeros(len(y)), 0.0, 0.0)


def _one_mode(y: Any) -> modes.Modes:
    return modes.Modes(np.zeros(len(y)), 0.0)


def _no_change(*_: object) -> change.Change:
    return change.NONE


def _normal_tails(_errors: Any, n: int) -> float:
    return 0.85 * (n - 1)


def _nothing_known(*_: object) -> float:
    return 0.0


WITHOUT: Final[dict[str, tuple[str, Any, str, Callable[..., Any]]]] = {
    "without_size": ("the size of a run", size, "explain", _nothing_of_size),
    "without_season": ("hours and weekdays", season, "explain", _nothing_of_time),
    "without_modes": ("two modes", modes, "explain", _one_mode),
    "without_sustained": ("changes that last", sustained, "risen", _no_change),
    "without_growth": ("leaks", leaks, "grown", _no_change),
    "without_tails": ("heavy tails", errors, "_degrees", _normal_tails),
    "without_known": ("what comes now and then", errors, "_known", _nothing_known),
}
"""Detectors that lack a step each: what it is about, and what stands for it."""
ON_REAL_SERIES: Final = ("without_sustained", "without_tails", "without_known")
"""Those that are asked of real series too: the others are about what these do not have."""


def __getattr__(name: str) -> Any:
    if name not in WITHOUT:
        raise AttributeError(name)
    _, module, function, instead = WITHOUT[name]
    setattr(module, function, instead)
    return detect


def detect_by_default(history: Sequence[Given], latest: Given, now: float) -> Said:
    """With the thresholds that the product has where nobody sets any."""
    return _said(checks(history, latest, now, Thresholds()))


def detect(history: Sequence[Given], latest: Given, now: float) -> Said:
    """Anomalies of one command, in the benchmark's words."""
    return _said(checks(history, latest, now))


def detect_many(cases: Sequence[Case]) -> list[Said]:
    """Those of many commands, false discoveries controlled."""
    return [_said(found) for found in control([checks(*case) for case in cases])]


def control(found: Sequence[Sequence[Check]]) -> list[tuple[Check, ...]]:
    """Leave as anomalies what is news among all tests, as an evaluation does."""
    tests = [check for one in found for check in one if check.kind not in _CERTAIN]
    highest = discoveries.limit(check.p_value for check in tests)
    return [
        tuple(
            check
            if not check.is_anomaly or check.kind in _CERTAIN or check.p_value <= highest
            else replace(check, is_anomaly=False)
            for check in one
        )
        for one in found
    ]


def checks(
    history: Sequence[Given], latest: Given, now: float, thresholds: Thresholds = THRESHOLDS
) -> tuple[Check, ...]:
    """All that the product asks."""
    runs = Runs.of(_run(given) for given in history if given["status"] != "running")
    is_running = latest["status"] == "running"
    starts = np.append(runs.started_at, latest["started_at"])
    due = missed(expected(starts, now, silence_seconds=_SILENCE_SECONDS, is_running=is_running))
    if is_running:
        found = [overdue(runs, latest["started_at"], now)]
    else:
        found = list(judge.judge(runs, _run(latest), thresholds).checks)
    return tuple(check for check in (*found, due) if check is not None)


def _run(given: Given) -> Run:
    seconds = _number(given["duration"])
    return Run(
        given["started_at"],
        seconds,
        seconds,
        given["job_count"],
        given["failed_jobs"],
        _number(given["peak_memory"]),
        _number(given["queue_time"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _said(found: Sequence[Check]) -> Said:
    return [
        {"type": _NAMES[check.kind], "p_value": check.p_value}
        for check in found
        if check.is_anomaly and check.kind is not _UNASKED
    ]


def main() -> int:
    """Run the benchmark over some seeds, print the tables, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--anombench", type=Path, default=os.environ.get("ANOMBENCH"))
    parser.add_argument("--nab", type=Path, default=os.environ.get("NAB"), help="a checkout of it")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks/anomalies.md")
    args = parser.parse_args()
    if args.page and not (args.anombench and args.nab):
        parser.error("the page has both: --anombench FILE and --nab DIR")
    if not args.anombench and not args.nab:
        print("anomalies: needs anombench.py: --anombench FILE, or ANOMBENCH in the environment")
        print("or real series: --nab DIR, or NAB in the environment")
        return 0
    parts = [_made_up(args.anombench, args.seeds)] if args.anombench else []
    parts += [_real(Path(args.nab))] if args.nab else []
    text = "\n\n".join(parts)
    print(text)
    if args.page:
        page.write(PAGE, text)
    return 0


def _made_up(anombench: Path, seeds: Sequence[int]) -> str:
    own = [_scored(anombench, f"{__spec__.name}:detect", seed) for seed in seeds]
    naive = [_scored(anombench, "naive:detect", seed) for seed in seeds]
    default = _scored(anombench, f"{__spec__.name}:detect_by_default", seeds[0])
    lacking = {
        about: _scored(anombench, f"{__spec__.name}:{name}", seeds[0], "--no-extra")
        for name, (about, *_) in WITHOUT.items()
    }
    return _text(seeds, own, naive, default, lacking)


def _real(folder: Path) -> str:
    lines = [
        "Real series, default thresholds:",
        "",
        "| | series of | windows found | alarms in 1,000 points outside | causes of them |",
        "|---|---|--:|--:|--:|",
    ]
    for name, detector in (("jobmon", nab.by_jobmon), ("an average", nab.by_average)):
        scores = {one: _over(folder, [one], detector) for one in nab.FOLDERS}
        lines += [_real_row(name, one, score) for one, score in scores.items()]
        lines.append(_real_row(name, "all", sum(scores.values(), nab.Score())))
    for about, module, function, instead in (WITHOUT[one] for one in ON_REAL_SERIES):
        with mock.patch.object(module, function, instead):
            score = _over(folder, nab.FOLDERS, nab.by_jobmon)
        lines.append(_real_row(f"jobmon without {about}", "all", score))
    return "\n".join(lines)


def _over(folder: Path, names: Sequence[str], detector: nab.Detector) -> nab.Score:
    scores = (nab.score(one, detector) for name in names for one in nab.series(folder, name))
    return sum(scores, nab.Score())


def _real_row(name: str, of: str, score: nab.Score) -> str:
    alarms, causes = (1000 * number / score.points for number in (score.alarms, score.causes))
    found = f"{score.found} of {score.windows}"
    return f"| {name} | {of} | {found} | {alarms:.1f} | {causes:.1f} |"


def _scored(anombench: Path, detector: str, seed: int, *options: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        subprocess.run(
            [
                *(sys.executable, anombench, "--detector", detector),
                *("--seed", str(seed), "--json", result, *options),
            ],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        found: dict[str, Any] = json.loads(result.read_text())
        return found


def _text(
    seeds: Sequence[int],
    own: Sequence[dict[str, Any]],
    naive: Sequence[dict[str, Any]],
    default: dict[str, Any],
    lacking: Mapping[str, dict[str, Any]],
) -> str:
    lines = [f"{page.machine()}; seeds {', '.join(map(str, seeds))}.", ""]
    lines += [
        "| | seed | precision | recall | F1 | macro F1 | false alarms per 1,000 | worst kind |"
    ]
    lines += ["|---|--:|--:|--:|--:|--:|--:|---|"]
    for name, results in (("jobmon", own), ("an average and bounds", naive)):
        lines += [_row(name, seed, one) for seed, one in zip(seeds, results, strict=True)]
    lines.append(_row("jobmon, default thresholds", seeds[0], default))
    lines += ["", f"By kind, seed {seeds[0]}:", "", "| kind | jobmon: precision | recall | F1 |"]
    lines[-1] += " an average: F1 |"
    lines.append("|---|--:|--:|--:|--:|")
    for kind, one in own[0]["types"].items():
        theirs = naive[0]["types"][kind]["f1"]
        values = one["precision"], one["recall"], one["f1"], theirs
        lines.append(f"| {kind} | {' | '.join(f'{value:.3f}' for value in values)} |")
    lines += ["", "False alarms per 1,000 normal runs, worst of the seeds:", ""]
    lines += ["| regime | normal runs of a seed | jobmon | an average |", "|---|--:|--:|--:|"]
    for regime, one in own[0]["regimes"].items():
        if one["normal"]:
            alarms = (_worst(results, regime) for results in (own, naive))
            lines.append(f"| {regime} | {one['normal']} | {' | '.join(alarms)} |")
    lines += ["", "One run that is slower by a factor, of those found (20 runs or more before it):"]
    spreads = ("0.05", "0.1", "0.2", "0.35")
    lines += [
        "",
        f"| | {' | '.join(f'spread {one}' for one in spreads)} |",
        "|---|--:|--:|--:|--:|",
    ]
    for effect in ("1.2", "1.5", "2", "3"):
        shares = (f"{_mean(own, 'effects', f'{effect}x@{spread}'):.2f}" for spread in spreads)
        lines.append(f"| {effect} × | {' | '.join(shares)} |")
    lines += [
        "",
        "| | seed | found of 20 | false | their share | shift seen in 3 runs | alarms a shift |",
    ]
    lines[-1] += " invariances broken | ms mean | ms p99 |"
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for seed, one in zip(seeds, own, strict=True):
        fleet, shift = one["fleet"]["detect_many"], one["stream"]
        lines.append(
            f"| jobmon | {seed} | {fleet['found']} | {fleet['false']} | {fleet['fdp']:.2f} | "
            f"{100 * shift['detected_in_3']:.0f} % | {shift['mean_episodes']:.2f} | "
            f"{sum(one['metamorphic'].values())} | {one['ms_mean']:.1f} | {one['ms_p99']:.1f} |"
        )
    lines += ["", f"What each step buys, seed {seeds[0]}:", ""]
    lines += ["| without | F1 | macro F1 | false alarms per 1,000 |", "|---|--:|--:|--:|"]
    for about, one in {"–": own[0], **lacking}.items():
        lines.append(
            f"| {about} | {one['f1']:.3f} | {one['macro_f1']:.3f} | {one['fa_per_1000']:.1f} |"
        )
    return "\n".join(lines)


def _row(name: str, seed: int, one: dict[str, Any]) -> str:
    worst = min(one["types"], key=lambda kind: one["types"][kind]["f1"] or 0.0)
    numbers = (f"{one[key]:.3f}" for key in ("precision", "recall", "f1", "macro_f1"))
    alarms = f"{one['fa_per_1000']:.1f}"
    return (
        f"| {name} | {seed} | {' | '.join(numbers)} | {alarms} | "
        f"{worst} {one['types'][worst]['f1']:.3f} |"
    )


def _worst(results: Sequence[dict[str, Any]], regime: str) -> str:
    return f"{max(one['regimes'][regime]['fa_per_1000'] for one in results):.1f}"


def _mean(results: Sequence[dict[str, Any]], table: str, name: str) -> float:
    return float(np.mean([one[table][name] for one in results]))


if __name__ == "__main__":
    sys.exit(main())
