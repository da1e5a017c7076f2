"""Sentences that people understand at night, and how bad they are told it is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from jobmon.analysis.checks import Baseline, Check, Kind
from jobmon.analysis.sentence import LONGEST, over, sentence, stopped
from jobmon.analysis.severity import severity
from jobmon.analysis.units import span

LAST = 1754179200.0  # 2025-08-03 00:00 UTC
DUE = datetime(2025, 8, 5, 2, tzinfo=ZoneInfo("Europe/Berlin"))
SPIKE, DROP = Kind.WORKLOAD_SPIKE, Kind.WORKLOAD_DROP


def check(
    kind: Kind,
    current: float,
    low: float = 0.0,
    high: float = 0.0,
    centre: float = 0.0,
    *,
    metric: str = "",
    n: int = 60,
    ratio: float = 2.0,
    threshold: float = 1.5,
    runs: int = 1,
    spread: float = 1.0,
    test: str = "t",
    due: datetime | None = None,
) -> Check:
    baseline = Baseline(centre or (low + high) / 2, low, high, spread, n, LAST - 1e6, LAST)
    return Check(
        *(kind, metric, current, baseline, ratio, 1e-6, test, threshold, True),
        runs=runs,
        due=due,
    )


@pytest.mark.parametrize(
    ("found", "jobs", "failed", "said"),
    [
        (
            check(
                Kind.PERFORMANCE_DEGRADATION,
                *(564 / 55, 288 / 55, 336 / 55),
                metric="avg_job_time",
            ),
            *(55, 0),
            "the 55 jobs of data:process ran 9.4 min in all; those of runs with about as many "
            "usually run 4.8–5.6 min (last 60 runs)",
        ),
        (
            check(Kind.PERFORMANCE_DEGRADATION, 9.42, 4.8, 5.6, metric="total_time", n=1),
            *(0, 0),
            "data:process took 9.4 s; it usually takes 4.8–5.6 s (last run)",
        ),
        (
            check(Kind.PERFORMANCE_DEGRADATION, 9.42, 2.5, 7.5, metric="total_time", spread=0.07),
            *(0, 0),
            "data:process took 9.4 s; it usually takes 4.3–5.8 s (last 60 runs)",
        ),
        (
            check(Kind.PERFORMANCE_IMPROVEMENT, 0.5, 3600, 7200, metric="total_time"),
            *(0, 0),
            "data:process took only 0.5 s; it usually takes 1–2 h (last 60 runs)",
        ),
        (
            check(Kind.WORKLOAD_SPIKE, 12_345, 48.2, 61.7),
            *(12_345, 0),
            "data:process had 12,345 jobs; it usually has 48–62 (last 60 runs)",
        ),
        (
            check(Kind.WORKLOAD_DROP, 0, 50, 50),
            *(0, 0),
            "data:process had no jobs; it usually has about 50 (last 60 runs)",
        ),
        (
            check(Kind.WORKLOAD_DROP, 1, 48, 60),
            *(1, 0),
            "data:process had only 1 job; it usually has 48–60 (last 60 runs)",
        ),
        (
            check(Kind.FAILURE_RATE_SPIKE, 100 * 12 / 55, 0, 4, 1.2),
            *(55, 12),
            "12 of 55 jobs of data:process failed (22 %); usually about 1.2 % fail (last 60 runs)",
        ),
        (
            check(Kind.FAILURE_RATE_SPIKE, 60, 0, 0, 0.01),
            *(5, 3),
            "3 of 5 jobs of data:process failed (60 %); usually almost none do (last 60 runs)",
        ),
        (
            check(Kind.FAILURE_RATE_DROP, 0, 10, 30),
            *(55, 0),
            "none of 55 jobs of data:process failed; usually about 20 % fail (last 60 runs)",
        ),
        (
            check(Kind.MEMORY_GROWTH, 1.234e9, 4.1e8, 5.2e8),
            *(55, 0),
            "data:process needed 1.2 GB of memory at its peak; runs with about 55 jobs usually "
            "need 410–520 MB (last 60 runs)",
        ),
        (
            check(Kind.QUEUE_TIME_GROWTH, 95, 0.05, 0.4),
            *(55, 0),
            "jobs of data:process waited 1.6 min in their queue; usually they wait 0.05–0.4 s "
            "(last 60 runs)",
        ),
        (
            check(Kind.MISSED_EXECUTION, 26, 0, 25, 24, test="silence"),
            *(0, 0),
            "data:process has not started for 26 h, since 2025-08-03 00:00 UTC; it usually starts "
            "every 24 h",
        ),
        (
            check(Kind.MISSED_EXECUTION, 74, 0, 73, 24, test="cron", due=DUE),
            *(0, 0),
            "data:process was due 26 h ago, at 2025-08-05 02:00 Europe/Berlin, and has not "
            "started; it last started at 2025-08-03 02:00 Europe/Berlin",
        ),
        (
            check(
                *(Kind.MISSED_EXECUTION, 50, 0, 49, 24),
                test="inferred: every 24 h",
                due=DUE.astimezone(UTC),
            ),
            *(0, 0),
            "data:process was due 2 h ago, at 2025-08-05 00:00 UTC (inferred from its past runs), "
            "and has not started; it last started at 2025-08-03 00:00 UTC",
        ),
        (
            check(Kind.OVERDUE_RUN, 7560, 0, 2160, 1320),
            *(0, 0),
            "data:process has been running for 2.1 h; it usually takes about 22 min, and at most "
            "36 min is normal (last 60 runs)",
        ),
        (
            check(Kind.OVERDUE_RUN, 7560, 0, 3600, 3600, n=0),
            *(0, 0),
            "data:process has been running for 2.1 h; at most 60 min is normal",
        ),
    ],
)
def test_each_kind_has_its_sentence(found: Check, jobs: float, failed: float, said: str) -> None:
    assert sentence("data:process", found, jobs, failed) == said


def test_a_change_of_several_runs_is_told_as_their_mean() -> None:
    found = check(Kind.PERFORMANCE_DEGRADATION, 9.0, 4.8, 5.6, metric="total_time", runs=8)
    assert sentence("c", found).startswith("c took 9 s on average of its last 8 runs; it usually")


def slow(jobs: float, *, kind: Kind = Kind.PERFORMANCE_DEGRADATION) -> str:
    many = jobs or 1
    found = check(kind, 564 / many, 288 / many, 336 / many, metric="avg_job_time")
    return sentence("c", found, jobs)


def memory(jobs: float) -> str:
    return sentence("c", check(Kind.MEMORY_GROWTH, 2e9, 1e9, 1e9), jobs)


def queue(jobs: float) -> str:
    return sentence("c", check(Kind.QUEUE_TIME_GROWTH, 95, 10, 10), jobs)


def workload(jobs: float, kind: Kind, runs: int = 1) -> str:
    return sentence("c", check(kind, jobs, 50, 50, runs=runs), round(jobs))


def failures(failed: float, jobs: float, kind: Kind = Kind.FAILURE_RATE_SPIKE) -> str:
    return sentence("c", check(kind, 100 * failed / jobs, 20, 20), jobs, failed)


IN_ALL = "ran 9.4 min in all; those of runs with about as many usually run 4.8–5.6 min"
OTHERS = "; it usually has about 50 (last 60 runs)"
SHARE = "; usually about 20 % fail (last 60 runs)"
NEEDED = "c needed 2 GB of memory at its peak; "
WAITED = "jobs of c waited 1.6 min in their queue; usually they wait about 10 s (last 60 runs)"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            slow(1),
            "the job of c ran 9.4 min; in runs with one job it usually runs 4.8–5.6 min "
            "(last 60 runs)",
        ),
        (slow(2), f"the 2 jobs of c {IN_ALL} (last 60 runs)"),
        (slow(1000), f"the 1,000 jobs of c {IN_ALL} (last 60 runs)"),
        (
            slow(1, kind=Kind.PERFORMANCE_IMPROVEMENT),
            "the job of c ran only 9.4 min; in runs with one job it usually runs 4.8–5.6 min "
            "(last 60 runs)",
        ),
        (workload(0, DROP), f"c had no jobs{OTHERS}"),
        (workload(1, DROP), f"c had only 1 job{OTHERS}"),
        (workload(1, DROP, 8), f"c had only 1 job on average of its last 8 runs{OTHERS}"),
        (workload(1.2, DROP, 8), f"c had only 1.2 jobs on average of its last 8 runs{OTHERS}"),
        (workload(2, DROP), f"c had only 2 jobs{OTHERS}"),
        (workload(1000, SPIKE), f"c had 1,000 jobs{OTHERS}"),
        (workload(999.6, SPIKE, 8), f"c had 1,000 jobs on average of its last 8 runs{OTHERS}"),
        (failures(0, 1), f"the job of c did not fail{SHARE}"),
        (failures(1, 1), f"the job of c failed{SHARE}"),
        (failures(0, 2, Kind.FAILURE_RATE_DROP), f"none of 2 jobs of c failed{SHARE}"),
        (failures(1, 2), f"1 of 2 jobs of c failed (50 %){SHARE}"),
        (failures(2, 2), f"2 of 2 jobs of c failed (100 %){SHARE}"),
        (
            failures(2, 1000, Kind.FAILURE_RATE_DROP),
            f"only 2 of 1,000 jobs of c failed (0.2 %){SHARE}",
        ),
        (failures(1000, 1000), f"1,000 of 1,000 jobs of c failed (100 %){SHARE}"),
        (memory(0), f"{NEEDED}it usually needs about 1 GB (last 60 runs)"),
        (memory(1), f"{NEEDED}runs with one job usually need about 1 GB (last 60 runs)"),
        (memory(2), f"{NEEDED}runs with about 2 jobs usually need about 1 GB (last 60 runs)"),
        (
            memory(1000),
            f"{NEEDED}runs with about 1,000 jobs usually need about 1 GB (last 60 runs)",
        ),
        (
            queue(1),
            "the job of c waited 1.6 min in its queue; usually it waits about 10 s (last 60 runs)",
        ),
        (queue(2), WAITED),
        (queue(1000), WAITED),
    ],
)
def test_numbers_and_nouns_agree(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize("kind", Kind)
def test_no_name_and_no_number_breaks_it(kind: Kind) -> None:
    for current in (0.0, 1e-9, 1e300, float("inf"), float("nan")):
        for bounds in ((0.0, 0.0), (float("-inf"), float("inf")), (1e12, 1.0)):
            said = sentence("\x1b[31m\n<b>" + "x" * 1000, check(kind, current, *bounds), 1e9)
            assert len(said) <= LONGEST
            assert said.isprintable()


def test_what_is_over_says_why() -> None:
    assert stopped("c", check(Kind.MISSED_EXECUTION, 75, 0, 25, 24), 3) == (
        "c seems to have stopped: it has missed at least 3 starts in a row, and last started "
        "3.1 days ago; it usually starts every 24 h"
    )
    assert stopped("c", check(Kind.MISSED_EXECUTION, 960, 0, 25, 24, due=DUE), 3) == (
        "c seems to have stopped: it has missed at least 3 starts in a row, the first at "
        "2025-08-05 02:00 Europe/Berlin; it last started at 2025-08-03 02:00 Europe/Berlin"
    )
    for resolution in ("recovered", "accepted", "superseded", "started", "ended"):
        assert over("c", Kind.MEMORY_GROWTH, resolution).isprintable()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (0.0421, "42 ms"),
        (0.42, "0.42 s"),
        (89.0, "89 s"),
        (90.0, "1.5 min"),
        (5400.0, "1.5 h"),
        (86_400.0, "24 h"),
        (400_000.0, "4.6 days"),
    ],
)
def test_lengths_of_time_have_the_unit_that_people_choose(seconds: float, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("kind", "ratio", "threshold", "expected"),
    [
        (Kind.PERFORMANCE_DEGRADATION, 1.5, 1.5, "low"),
        (Kind.PERFORMANCE_DEGRADATION, 2.25, 1.5, "medium"),
        (Kind.PERFORMANCE_DEGRADATION, 3.0, 1.5, "high"),
        (Kind.PERFORMANCE_DEGRADATION, 4.5, 1.5, "critical"),
        (Kind.WORKLOAD_DROP, 0.5, 0.5, "low"),
        (Kind.WORKLOAD_DROP, 0.25, 0.5, "high"),
        (Kind.WORKLOAD_DROP, 0.0, 0.5, "critical"),
        (Kind.PERFORMANCE_IMPROVEMENT, 0.01, 0.5, "low"),
        (Kind.FAILURE_RATE_DROP, 0.0, 0.5, "low"),
        (Kind.MISSED_EXECUTION, 1.1, 1.1, "medium"),
        (Kind.OVERDUE_RUN, 5.0, 1.6, "critical"),
    ],
)
def test_severity(kind: Kind, ratio: float, threshold: float, expected: str) -> None:
    assert severity(check(kind, 1, ratio=ratio, threshold=threshold)) == expected
