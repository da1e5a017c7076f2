"""One judgement for all numbers whose changes are ratios: time, jobs, memory, waiting.

All is done in logarithms: there an effect is a difference, and noise is about normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

import numpy as np
from scipy.special import pdtr, pdtrc

from jobmon.analysis import errors, growth, modes, robust, season, size, sustained
from jobmon.analysis.change import NONE, Change
from jobmon.analysis.checks import MOST_RATIO, Baseline, Check, Kind
from jobmon.analysis.runs import ENOUGH_RUNS, Floats, Run, Runs

_FEW_RUNS: Final = 12
_STRICTER: Final = math.log(1.3)
"""Added to the least effect while the runs are few; alpha is halved where they are even fewer."""
_VERY_FEW_RUNS: Final = 10
_GROWN_ALPHA: Final = 1e-5
_STEP: Final = 0.6
"""Of a step of what is recorded in steps: what that alone adds to the spread."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A positive number of a run, and how its changes are judged."""

    name: str
    up: Kind | None
    down: Kind | None
    alpha: float
    """Chance of one run so far off below which it is an anomaly; one-sided."""
    lasting_alpha: float
    """Likewise of a change that lasts."""
    floor: float
    """Least spread of the logarithm: no command repeats more exactly."""
    usual: float
    """Spread to be expected before anything was seen."""
    elasticity: float | None = None
    """By how much its logarithm usually grows with that of the job count; None: it is not asked."""
    offset: float = 0.0
    """Added before the logarithm, of what may be 0: below it differences do not matter."""
    least_change: float = 0.0
    """In its unit."""
    is_count: bool = False
    """Varies at least as Poisson's distribution does."""
    may_leak: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One metric of one run. The history holds runs that know the metric, and only such."""

    metric: Metric
    history: Runs
    values: Floats
    """The metric of the history's runs."""
    latest: Run
    value: float
    """The metric of the run judged."""
    more: float
    """Least ratio that counts; greater than 1."""
    fewer: float
    """Highest ratio that counts; less than 1. 0: none does."""
    per: float = 1.0
    """Numbers are told by so many, as the time per job is; what is judged is the whole."""


def judge(question: Question, zone: tzinfo) -> list[Check]:
    """One check for each kind of the metric: nothing where too few runs know it."""
    n = len(question.values)
    if n < ENOUGH_RUNS:
        return []
    return _Judgement(question, zone).checks()


class _Judgement:
    """What was to be expected, and how far the run is from it."""

    def __init__(self, question: Question, zone: tzinfo) -> None:
        self._question = question
        metric, history, latest = question.metric, question.history, question.latest
        y = np.log(question.values + metric.offset)
        now = math.log(question.value + metric.offset)
        least = most = 0.0
        if metric.elasticity is not None:
            by_size = size.explain(
                y, np.log(history.job_count), math.log(latest.job_count), metric.elasticity
            )
            y = y - by_size.explained
            least, most = by_size.least, by_size.most
        by_time = season.explain(y, history.started_at, latest.started_at, zone)
        y = y - by_time.explained
        by_mode = modes.explain(y)
        y = y - by_mode.explained
        least += by_time.latest
        most += by_time.latest + by_mode.gap

        self._errors = errors.learn(y, _floor(metric, question.values), metric.usual)
        level = self._errors.level
        self._now = now
        self._least, self._most = level + least, level + most
        # The nearest of what was to be expected: inside the interval nothing is odd.
        self._centre = min(max(now, self._least), self._most)
        self._series = np.append(y, now - self._centre + level)
        n = len(y)
        self._stricter = _STRICTER if n < _FEW_RUNS else 0.0
        self._alpha = metric.alpha / 2 if n < _VERY_FEW_RUNS else metric.alpha

    def checks(self) -> list[Check]:
        question = self._question
        metric, found = question.metric, self._errors
        up = math.log(question.more) + self._stricter
        down = -math.log(question.fewer) + self._stricter if question.fewer else math.inf
        high = self._most + max(up, found.reach(self._alpha, found.up))
        low = self._least - max(down, found.reach(self._alpha, found.down))
        checks: list[Check] = []
        if metric.up:
            far = self._now - self._most
            p_value = found.p_value(far, found.up)
            is_beyond = self._now > high
            checks.append(
                self._check(metric.up, p_value, is_beyond, 1, up, question.more, low, high)
            )
        if metric.down:
            far = self._least - self._now
            p_value = found.p_value(far, found.down)
            is_beyond = self._now < low
            checks.append(
                self._check(metric.down, p_value, is_beyond, -1, down, question.fewer, low, high)
            )
        return checks

    def _check(
        self,
        kind: Kind,
        p_value: float,
        is_beyond: bool,
        sign: int,
        effect: float,
        threshold: float,
        low: float,
        high: float,
    ) -> Check:
        metric, value = self._question.metric, self._question.value
        side = self._errors.up if sign > 0 else self._errors.down
        if metric.is_count:
            p_value = max(p_value, _poisson(value, math.exp(self._centre), sign))
        is_anomaly = is_beyond and p_value < self._alpha and self._counts(self._centre, self._now)
        centre, now, test, runs = self._centre, self._now, "Student's t of one run", 1
        if not is_anomaly:
            change, name = self._change(sign, effect)
            moved = self._centre - self._errors.level
            before = sign * change.before + moved
            newest = before + sign * change.far
            if change.runs and self._counts(before, newest):
                is_anomaly, p_value = True, change.p_value
                centre, now, test, runs = before, newest, name, change.runs
                low, high = low + before - self._centre, high + before - self._centre
        history = self._question.history
        baseline = Baseline(
            centre=self._told(centre),
            low=self._told(low),
            high=self._told(high),
            spread=side.spread,
            n=len(history),
            first_at=float(history.started_at[0]),
            last_at=float(history.started_at[-1]),
        )
        current = self._told(now) if runs > 1 else value / self._question.per
        ratio = current / baseline.centre if baseline.centre > 0 else MOST_RATIO
        return Check(
            kind,
            metric.name,
            current,
            baseline,
            min(ratio, MOST_RATIO),
            min(1.0, p_value),
            test,
            threshold,
            is_anomaly,
            runs,
        )

    def _change(self, sign: int, effect: float) -> tuple[Change, str]:
        """What the newest runs show together, if it is significant and counts."""
        series = sign * self._series
        change = sustained.risen(series, self._errors.steady)
        if change.p_value < self._question.metric.lasting_alpha and change.far >= effect:
            return change, "Student's t of the last runs"
        if self._question.metric.may_leak:
            change = growth.grown(series, effect)
            if change.p_value < _GROWN_ALPHA:
                return change, "Kendall's tau"
        return NONE, ""

    def _counts(self, before: float, now: float) -> bool:
        least = self._question.metric.least_change
        return not least or abs(math.exp(now) - math.exp(before)) >= least

    def _told(self, logarithm: float) -> float:
        metric = self._question.metric
        return max(0.0, math.exp(logarithm) - metric.offset) / self._question.per


def _floor(metric: Metric, values: Floats) -> float:
    """Least spread: the metric's own, that of what is recorded in steps, and of counts."""
    middle = robust.median(values) + metric.offset
    floor = metric.floor
    if middle > 0:
        floor = math.hypot(floor, _STEP * math.log1p(_resolution(values) / middle))
        if metric.is_count:
            floor = math.hypot(floor, 0.5 / math.sqrt(middle))
    return floor


def _resolution(values: Floats) -> float:
    """Step in which values are recorded, as their ties tell; 0 where there are few."""
    ranked = np.sort(values)
    steps = np.diff(ranked)
    steps = steps[steps > 0]
    if len(steps) > len(values) / 2:
        return 0.0
    if not len(steps):
        only = float(ranked[0])
        return next(
            (
                step
                for step in (1.0, 0.1, 0.01)
                if math.isclose(only, round(only / step) * step, rel_tol=1e-9)
            ),
            0.0,
        )
    step = float(steps.min())
    # Of two values one may be odd, and what is between them no step.
    return step if len(steps) > 1 else min(step, float(ranked[0]) / 2)


def _poisson(count: float, mean: float, sign: int) -> float:
    """Chance of so many or more, or of so many or fewer: of counts the least variation there is."""
    if sign > 0:
        return float(pdtrc(math.ceil(count) - 1, mean)) if count >= 1 else 1.0
    return float(pdtr(math.floor(count), mean))
