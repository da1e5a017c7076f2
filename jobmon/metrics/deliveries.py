"""Families of how anomalies are told: deliveries to sinks, and alerts sent to Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jobmon.metrics.family import Family, Sample
from jobmon.store.state import Totals


def _ended(totals: Totals) -> Iterator[Sample]:
    yield from sorted(totals.judged.deliveries.ended.items())


def _waiting(totals: Totals) -> Iterator[Sample]:
    for sink, many in sorted(totals.judged.deliveries.waiting.items()):
        yield (sink,), many


def _alerts(totals: Totals) -> Iterator[Sample]:
    yield from sorted(totals.judged.deliveries.alerts.items())


FAMILIES: Final = (
    Family(
        "jobmon_deliveries_total",
        "counter",
        "Attempts to hand an event to a sink: delivered, failed (it is tried again) or dropped.",
        ("sink", "result"),
        _ended,
    ),
    Family(
        "jobmon_deliveries_waiting",
        "gauge",
        "Events that a sink has yet to be handed.",
        ("sink",),
        _waiting,
    ),
    Family(
        "jobmon_alerts_sent_total",
        "counter",
        "Alerts sent straight to Alertmanager, each time. Peer: its place in `alertmanager.urls`, "
        "from 0; dropped: refused.",
        ("peer", "result"),
        _alerts,
    ),
)
