"""What a metric family is, and how it becomes what ``prometheus_client`` prints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from jobmon.store.state import Histogram

T = TypeVar("T")

Value: TypeAlias = float | Histogram
Sample: TypeAlias = tuple[Sequence[str], Value]
"""Values of the family's labels, and the number or the observations."""


@dataclass(frozen=True, slots=True)
class Family(Generic[T]):
    """One metric family and how to read it."""

    name: str
    """As it is exposed; a counter's ends in ``_total``."""
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    """Names, without those that every series of a collector has, such as ``app``."""
    read: Callable[[T], Iterable[Sample]]
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets but the last, seconds."""

    def metric(self, source: T, constant: tuple[tuple[str, str], ...] = ()) -> Metric:
        """The family with its series as they are now.

        Args:
            source: What it is read from.
            constant: Labels, with their values, that come before the family's own.
        """
        labels = [*(name for name, _ in constant), *self.labels]
        first = [value for _, value in constant]
        if self.type == "histogram":
            histogram = HistogramMetricFamily(self.name, self.help, labels=labels)
            for values, observed in self.read(source):
                assert isinstance(observed, Histogram)
                buckets = _cumulative(self.bounds, observed)
                histogram.add_metric([*first, *values], buckets, observed.sum)
            return histogram
        kind = CounterMetricFamily if self.type == "counter" else GaugeMetricFamily
        family = kind(self.name, self.help, labels=labels)
        for values, number in self.read(source):
            assert not isinstance(number, Histogram)
            family.add_metric([*first, *values], number)
        return family


def _cumulative(bounds: tuple[float, ...], observed: Histogram) -> list[tuple[str, float]]:
    uppers = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(uppers, itertools.accumulate(observed.counts), strict=True))
