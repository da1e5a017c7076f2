"""Families of anomalies: which go on, how far they are off, and how many there were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample, cut
from jobmon.settings.webhooks import TYPES
from jobmon.store.anomalies import SHOWN_SECONDS, ShownAnomaly
from jobmon.store.state import Totals

_LABELS: Final = ("scope", "name", "signal")
_SCOPE: Final = "command"


def _shown(totals: Totals) -> dict[tuple[str, ...], list[ShownAnomaly]]:
    found: dict[tuple[str, ...], list[ShownAnomaly]] = {}
    for one in totals.judged.anomalies:
        over = one.resolved_at
        if over is None or totals.sync.now - over < SHOWN_SECONDS:
            labels = cut(_SCOPE, one.command, one.signal)
            found.setdefault(labels, []).append(one)
    return dict(sorted(found.items()))


def _active(totals: Totals) -> Iterator[Sample]:
    for labels, same in _shown(totals).items():
        yield labels, float(any(one.resolved_at is None for one in same))


def _score(totals: Totals) -> Iterator[Sample]:
    for labels, same in _shown(totals).items():
        ratios = [one.ratio for one in same if one.resolved_at is None]
        if ratios:
            yield labels, max(ratios)


def _opened(totals: Totals) -> Iterator[Sample]:
    # Shown from 0 on, so that `increase()` sees the first one.
    counts = dict.fromkeys(TYPES, 0) | dict(totals.judged.opened)
    for signal, count in sorted(counts.items()):
        yield (_SCOPE, signal), count


FAMILIES: Final = (
    Family(
        "jobmon_anomaly_active",
        "gauge",
        "1 while a command's anomaly goes on, 0 for an hour after; of at most 500 anomalies.",
        _LABELS,
        _active,
    ),
    Family(
        "jobmon_anomaly_score",
        "gauge",
        "How far an anomaly that goes on is off: the number by what was usual, at most 999.99.",
        _LABELS,
        _score,
    ),
    Family(
        "jobmon_anomalies_total",
        "counter",
        "Anomalies that began, or came back.",
        ("scope", "signal"),
        _opened,
    ),
)
