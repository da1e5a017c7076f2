"""What a metric family is, and how it becomes what ``prometheus_client`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.samples import Sample as Line

from jobmon.store.series import label
from jobmon.store.state import Exemplar as OfJob
from jobmon.store.state import Histogram

T = TypeVar("T")


class Marked(NamedTuple):
    """The number of a counter, and one of those that it counts."""

    number: float
    exemplar: OfJob


Value: TypeAlias = float | Marked | Histogram
Sample: TypeAlias = tuple[Sequence[str], Value]
"""Values of the family's labels, and the number or the observations."""

_KINDS: Final = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def cut(*values: str) -> tuple[str, ...]:
    """Values of labels as the store's own series have them, so that both can be joined."""
    return tuple(label(value).decode() for value in values)


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
        kind = _KINDS[self.type]
        family = kind(self.name, self.help)
        names = (*(name for name, _ in constant), *self.labels)
        first = tuple(value for _, value in constant)
        add = family.samples.append
        for values, value in self.read(source):
            labels = dict(zip(names, (*first, *values), strict=True))
            if isinstance(value, Histogram):
                family.samples += self._buckets(labels, value)
            elif isinstance(value, Marked):
                add(Line(self.name, labels, value.number, None, _exemplar(value.exemplar, 1.0)))
            else:
                add(Line(self.name, labels, value))
        return family

    def _buckets(self, labels: dict[str, str], observed: Histogram) -> Iterator[Line]:
        name = f"{self.name}_bucket"
        exemplars = observed.exemplars
        uppers = (*map(str, map(float, self.bounds)), "+Inf")
        count = 0
        for place, (upper, more) in enumerate(zip(uppers, observed.counts, strict=True)):
            count += more
            found = exemplars.get(place)
            exemplar = _exemplar(found, found.seconds) if found else None
            yield Line(name, {**labels, "le": upper}, count, None, exemplar)
        yield Line(f"{self.name}_count", labels, count)
        yield Line(f"{self.name}_sum", labels, observed.sum)


def _exemplar(job: OfJob, value: float) -> Exemplar:
    ids = {"trace_id": job.trace_id, "span_id": job.span_id}
    return Exemplar(ids, value, job.ended_at)
