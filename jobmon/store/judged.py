"""What the analysis and the delivery of events have written down for ``/metrics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobmon.store import anomalies, bounds, deliveries
from jobmon.store.anomalies import ShownAnomaly
from jobmon.store.bounds import Bound, Learned
from jobmon.store.deliveries import DeliveryTotals

if TYPE_CHECKING:
    from jobmon.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Judged:
    """All of it."""

    learned: Mapping[str, Learned]
    """By command."""
    queue_bounds: Mapping[tuple[str, ...], Bound]
    """Of the time in a queue, seconds, by engine and queue."""
    anomalies: Sequence[ShownAnomaly]
    """That are open, or were just now."""
    opened: Mapping[str, int]
    """Incidents so far, by kind."""
    deliveries: DeliveryTotals


def ask(pipeline: Any, keys: Keys) -> int:
    """Ask for it within a pipeline; how many answers :func:`understood` needs."""
    pipeline.hgetall(keys.command_bounds)
    pipeline.hgetall(keys.queue_bounds)
    pipeline.hgetall(keys.shown_anomalies)
    pipeline.hgetall(keys.analysis_totals)
    pipeline.hgetall(keys.delivery_totals)
    return 5


def understood(answers: Sequence[Any]) -> Judged:
    """What the answers to :func:`ask` say."""
    commands, queues, shown, analysis, delivered = answers
    return Judged(
        learned=bounds.by_command(commands),
        queue_bounds=bounds.queue_bounds(queues),
        anomalies=tuple(anomalies.anomalies(shown).values()),
        opened=anomalies.opened(analysis.items()),
        deliveries=deliveries.understood(delivered),
    )
