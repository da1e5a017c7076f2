"""PromQL, put together from families.

Every server answers the same numbers, and all of them may be scraped: ``max`` makes them one before
anything is added up. No recording rule is needed.
"""

from __future__ import annotations

from typing import Final

REPLICA: Final = "instance, pod, replica, endpoint, container"
"""Labels by which scrapes of the same numbers differ."""

RATE: Final = "$__rate_interval"
PERIOD: Final = "$__range"
"""All that the dashboard shows."""

APP: Final = 'app=~"$app"'
JOB: Final = f'{APP}, engine=~"$engine", queue=~"$queue", job_name=~"$job_name"'
QUEUE: Final = f'{APP}, engine=~"$engine", queue=~"$queue"'
ENGINE: Final = f'{APP}, engine=~"$engine"'
COMMANDS: Final = f'{APP}, command=~"$command"'
COMMAND: Final = f'{APP}, command="$command"'

FAILED: Final = 'outcome=~"failed|timed_out|lost"'


def newest(family: str, where: str, *by: str) -> str:
    """A gauge that needs no adding up, by the labels that tell its series apart."""
    return f"max by ({_labels(by)}) ({family}{{{where}}})"


def total(family: str, where: str, *by: str) -> str:
    """A gauge added up."""
    return f"sum by ({_labels(by)}) (max without ({REPLICA}) ({family}{{{where}}}))"


def rate(family: str, where: str, *by: str, over: str = RATE) -> str:
    """A counter's events a second."""
    return f"sum by ({_labels(by)}) (max without ({REPLICA}) (rate({family}{{{where}}}[{over}])))"


def increase(family: str, where: str, *by: str, over: str = RATE) -> str:
    """A counter's events in a time."""
    change = f"increase({family}{{{where}}}[{over}])"
    return f"sum by ({_labels(by)}) (max without ({REPLICA}) ({change}))"


def spread(family: str, where: str) -> str:
    """A histogram's observations in a time, by bucket."""
    change = f"increase({family}_bucket{{{where}}}[{RATE}])"
    # A heatmap takes one series for each bucket: of all applications together.
    return f"sum by (le) (max without ({REPLICA}) ({change}))"


def quantile(share: float, family: str, where: str, *by: str, over: str = RATE) -> str:
    """A quantile of a histogram's observations."""
    buckets = rate(f"{family}_bucket", where, *by, "le", over=over)
    return f"histogram_quantile({share}, {buckets})"


def failure_ratio(family: str, where: str, *by: str, over: str = RATE) -> str:
    """Share of a counter's events with an outcome that is a failure; retries are not over yet."""
    failed = increase(family, f"{where}, {FAILED}", *by, over=over)
    ended = increase(family, f'{where}, outcome!="retried"', *by, over=over)
    # The second keeps a zero where nothing failed; no value where nothing ended.
    return f"({failed} or 0 * {ended}) / ({ended} > 0)"


def counted(vector: str) -> str:
    """How many series there are; 0 where there is none."""
    return f"count({vector}) or vector(0)"


def added(vector: str) -> str:
    """The sum of all series; 0 where there is none."""
    return f"sum({vector}) or vector(0)"


def age(moment: str) -> str:
    """Seconds since a moment."""
    return f"time() - {moment}"


def moment(seconds: str) -> str:
    """A moment as Grafana's units of dates take it: milliseconds."""
    return f"{seconds} * 1000"


def _labels(by: tuple[str, ...]) -> str:
    return ", ".join(("app", *by))
