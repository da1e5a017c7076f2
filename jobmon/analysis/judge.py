"""Is this run normal? A pure function of the runs before it."""

from __future__ import annotations

import math
from datetime import UTC, tzinfo
from typing import Final, NamedTuple

import numpy as np
from scipy.special import pdtr, pdtrc

from jobmon.analysis import failures, growth, modes, ratio, season, size, sustained
from jobmon.analysis.checks import Baseline, Check, Kind, Verdict
from jobmon.analysis.runs import Floats, Run, Runs
from jobmon.analysis.thresholds import Thresholds

ENOUGH: Final = 5
WINDOW: Final = 300
_FEW: Final = 12
_MOST: Final = 999.99
_SUSTAINED_ALPHA: Final = 1e-5
_GROWTH_ALPHA: Final = 1e-5


class _Metric(NamedTuple):
    name: str
    up: Kind | None
    down: Kind | None
    floor: float
    usual: float
    elasticity: float
    alpha: float
    offset: float = 0.0


_TIME = _Metric(
    "avg_job_time",
    Kind.PERFORMANCE_DEGRADATION,
    Kind.PERFORMANCE_IMPROVEMENT,
    0.03,
    0.12,
    0.7,
    5e-4,
)
_JOBS = _Metric("job_count", Kind.WORKLOAD_SPIKE, Kind.WORKLOAD_DROP, 0.06, 0.2, 0, 2e-4)
_MEMORY = _Metric("peak_memory", Kind.MEMORY_GROWTH, None, 0.03, 0.12, 0.1, 3e-4)
_QUEUE = _Metric("queue_time", Kind.QUEUE_TIME_GROWTH, None, 0.15, 0.4, 0, 2e-4, 0.1)


def judge(history: Runs, latest: Run, thresholds: Thresholds, zone: tzinfo = UTC) -> Verdict:
    """Ask of a run all that can be asked of one that has finished.

    Args:
        history: The runs before it; the newest 300 count.
        zone: Of the command: its hours and weekdays.
    """
    history = history.last(WINDOW)
    if len(history) < ENOUGH:
        return Verdict((), False)
    checks: list[Check] = []
    with np.errstate(all="ignore"):
        checks += _performance(history, latest, thresholds, zone)
        checks += _workload(history, latest, thresholds, zone)
        checks += _failures(history, latest, thresholds)
        checks += _memory(history, latest, thresholds, zone)
        checks += _queue(history, latest, thresholds, zone)
    return Verdict(tuple(checks), True)


def _performance(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    if not latest.work_seconds > 0:
        return []
    alike = (history.job_count > 0) == (latest.job_count > 0)
    keep = alike & (history.work_seconds > 0)
    has_jobs = latest.job_count > 0
    metric = _TIME if has_jobs else _TIME._replace(name="total_time")
    return _compare(
        metric,
        history,
        history.work_seconds,
        keep,
        latest,
        latest.work_seconds,
        (t.slower, t.faster),
        sized=has_jobs,
        per=latest.job_count if has_jobs else 1.0,
        zone=zone,
    )


def _workload(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    keep = history.job_count > 0
    jobs = latest.job_count
    if not jobs >= 0 or not keep.any():
        return []
    found = _compare(
        _JOBS,
        history,
        history.job_count,
        keep,
        latest,
        max(jobs, 0.5),
        (t.more_jobs, t.fewer_jobs),
        sized=False,
        per=1.0,
        zone=zone,
    )
    if jobs == 0:
        zeros = float(np.mean(history.job_count == 0))
        out = []
        for c in found:
            p = max(c.p_value, zeros)
            out.append(
                c._replace(p_value=p)
                if False
                else Check(
                    c.kind,
                    c.metric,
                    0.0,
                    c.baseline,
                    0.0,
                    p,
                    c.test,
                    c.threshold,
                    c.is_anomaly and zeros == 0,
                )
            )
        return out
    return found


def _memory(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    if not latest.peak_memory_bytes > 0:
        return []
    alike = (history.job_count > 0) == (latest.job_count > 0)
    keep = alike & (history.peak_memory_bytes > 0)
    return _compare(
        _MEMORY,
        history,
        history.peak_memory_bytes,
        keep,
        latest,
        latest.peak_memory_bytes,
        (t.more_memory, 0.0),
        sized=latest.job_count > 0,
        per=1.0,
        zone=zone,
    )


def _queue(history: Runs, latest: Run, t: Thresholds, zone: tzinfo) -> list[Check]:
    if not latest.queue_time_seconds >= 0:
        return []
    keep = history.queue_time_seconds >= 0
    return _compare(
        _QUEUE,
        history,
        history.queue_time_seconds,
        keep,
        latest,
        latest.queue_time_seconds,
        (t.longer_queue, 0.0),
        sized=False,
        per=1.0,
        zone=zone,
    )


def _resolution(values: Floats, latest: float) -> float:
    """Of recorded values, when many are the same."""
    distinct = np.unique(values)
    if len(distinct) > len(values) / 2 + 1:
        return 0.0
    if len(distinct) == 1:
        return next(
            (q for q in (1.0, 0.1, 0.01) if abs(distinct[0] / q - round(distinct[0] / q)) < 1e-9),
            0.0,
        )
    return min(
        float(np.diff(distinct).min()), float(distinct[0]) / 2 if len(distinct) == 2 else math.inf
    )


def _compare(
    metric: _Metric,
    history: Runs,
    values: Floats,
    keep,
    latest: Run,
    value: float,
    thresholds: tuple[float, float],
    *,
    sized: bool,
    per: float,
    zone: tzinfo,
) -> list[Check]:
    values = values[keep]
    n = len(values)
    if n < ENOUGH:
        return []
    starts = history.started_at[keep]
    y = np.log(values + metric.offset)
    now = math.log(value + metric.offset)
    least = most = 0.0
    if sized:
        fitted = size.explain(
            y, np.log(history.job_count[keep]), math.log(latest.job_count), metric.elasticity
        )
        y = y - fitted.explained
        least, most = fitted.least, fitted.most
    seasonal = season.explain(y, starts, latest.started_at, zone)
    y = y - seasonal.explained
    least += seasonal.latest
    most += seasonal.latest
    middle = float(np.median(values))
    two = modes.explain(y)
    y = y - two.explained
    most += two.gap
    q = _resolution(values, value)
    floor = math.hypot(
        metric.floor,
        0.6 * math.log1p(q / (middle + metric.offset)) if middle + metric.offset > 0 else 0,
    )
    if metric is _JOBS:
        floor = math.hypot(floor, 0.5 / math.sqrt(middle))
    errors = ratio.learn(y, floor, metric.usual)
    strict = 1.3 if n < _FEW else 1.0
    alpha = metric.alpha / (2 if n < 10 else 1)
    steady = (
        ratio.spreads(errors.past[:-12], floor)
        if len(errors.past) > 20
        else (errors.up, errors.down)
    )
    explained = min(max(now - errors.level, least), most)
    centre_log = errors.level + explained
    centre = (math.exp(centre_log) - metric.offset) / per
    current = value / per
    found: list[Check] = []
    bounds: list[float] = []
    for sign, kind, threshold in ((1, metric.up, thresholds[0]), (-1, metric.down, thresholds[1])):
        if kind is None:
            bounds.append(0.0)
            continue
        expected = errors.level + (most if sign > 0 else least)
        far = sign * (now - expected)
        effect = abs(math.log(threshold)) + math.log(strict)
        spread = errors.up if sign > 0 else errors.down
        p = errors.p_up(far) if sign > 0 else errors.p_down(far)
        reach = errors.high(alpha) if sign > 0 else errors.low(alpha)
        if metric is _JOBS and p < 0.01:
            mean = math.exp(expected)
            p = max(
                p,
                float(pdtrc(round(value) - 1, mean) if sign > 0 else pdtr(math.floor(value), mean)),
            )
        reach = max(reach, effect)
        is_anomaly = far > reach and p < alpha
        if metric is _QUEUE:
            is_anomaly = is_anomaly and value - centre >= 0.5
        bounds.append(math.exp(expected + sign * reach) - metric.offset)
        test, the_p, shown, runs = "Student t, one run", p, current, 1
        if not is_anomaly:
            whole = np.append(y, now - explained)
            change = sustained.change(whole, steady[sign < 0], sign)
            if change.p_value < _SUSTAINED_ALPHA and change.far >= effect:
                if (
                    metric is not _QUEUE
                    or math.exp(errors.level) * (1 - math.exp(-change.far)) >= 0.5
                    or True
                ):
                    is_anomaly, test, the_p, runs = (
                        True,
                        f"sustained, {change.runs} runs",
                        change.p_value,
                        change.runs,
                    )
            if not is_anomaly and metric is _MEMORY:
                g = growth.growth(whole, effect)
                if g.p_value < _GROWTH_ALPHA:
                    is_anomaly, test, the_p = True, f"growth, {g.runs} runs", g.p_value
        found.append(
            Check(
                kind,
                metric.name,
                shown,
                _NO,
                min(_MOST, shown / centre if centre > 0 else _MOST),
                min(1.0, max(0.0, the_p)),
                test,
                threshold,
                is_anomaly,
            )
        )
    baseline = Baseline(
        centre,
        bounds[1] / per,
        bounds[0] / per,
        max(errors.up, errors.down),
        n,
        float(starts[0]),
        float(starts[-1]),
    )
    return [
        Check(
            c.kind,
            c.metric,
            c.current,
            baseline,
            c.ratio,
            c.p_value,
            c.test,
            c.threshold,
            c.is_anomaly,
        )
        for c in found
    ]


_NO: Final = Baseline(0, 0, 0, 0, 0, 0, 0)


def _failures(history: Runs, latest: Run, t: Thresholds) -> list[Check]:
    keep = (history.job_count > 0) & (history.failed_jobs >= 0)
    if not latest.job_count > 0 or not latest.failed_jobs >= 0 or np.count_nonzero(keep) < ENOUGH:
        return []
    starts = history.started_at[keep]
    rates = failures.learn(history.failed_jobs[keep], history.job_count[keep])
    jobs, failed = latest.job_count, latest.failed_jobs
    scale = min(1.0, failures._MOST / jobs)
    n = round(jobs * scale)
    k = min(n, math.floor(failed * scale))
    chance = failures.distribution(n, rates.a, rates.b)
    cumulated = np.cumsum(chance)
    more = float(min(1.0, chance[k:].sum()))
    fewer = float(min(1.0, cumulated[min(n, math.ceil(failed * scale))]))
    rate = failed / jobs
    high = float(np.searchsorted(cumulated, 1 - 1e-4)) / n
    low = float(np.searchsorted(cumulated, 1e-4)) / n
    usual_up = max(rates.rate, rates.recent)
    usual_down = min(rates.rate, rates.recent)
    up = (
        more < 1e-4
        and failed >= 2
        and rate >= t.more_failures * usual_up
        and rate - rates.rate >= 0.002
    )
    down = fewer < 1e-4 and rate <= t.fewer_failures * usual_down and rates.rate - rate >= 0.002
    baseline = Baseline(
        100 * rates.rate,
        100 * low,
        100 * high,
        100 * rates.deviation,
        int(keep.sum()),
        float(starts[0]),
        float(starts[-1]),
    )
    r = min(_MOST, rate / rates.rate)
    return [
        Check(
            Kind.FAILURE_RATE_SPIKE,
            "failure_rate",
            100 * rate,
            baseline,
            r,
            more,
            "beta-binomial",
            t.more_failures,
            up,
        ),
        Check(
            Kind.FAILURE_RATE_DROP,
            "failure_rate",
            100 * rate,
            baseline,
            r,
            fewer,
            "beta-binomial",
            t.fewer_failures,
            down,
        ),
    ]
