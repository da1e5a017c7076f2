"""The event of an anomaly, and who in this process wants to hear of it.

Called by users, and by what publishes; imports the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar, cast

State = Literal["opened", "escalated", "resolved"]
Severity = Literal["low", "medium", "high", "critical"]
STATES: Final[tuple[State, ...]] = ("opened", "escalated", "resolved")
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
"""The mildest first."""
_TEXTS: Final = ("id", "anomaly_id", "command_name", "anomaly_type", "metric", "summary")
_NUMBERS: Final = ("anomaly_current", "anomaly_baseline_avg", "threshold", "baseline_runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceAnomalyDetected:
    """A run differs from those before it, is missing, or does not end; or no longer so.

    One event for each turn of an anomaly's life. It may arrive twice: `id` tells.
    """

    id: str
    """UUID of the event."""
    anomaly_id: str
    """UUID of the anomaly, in all its events."""
    state: State
    command_name: str
    app: str
    environment: str
    anomaly_type: str
    metric: str
    """Name of the number that differs."""
    anomaly_metrics: Mapping[str, float]
    """The numbers: at least `current`, `baseline_avg`, `baseline_std`, `ratio` and
    `change_percent`."""
    anomaly_current: float
    anomaly_baseline_avg: float
    anomaly_severity: Severity
    change_percent: float | None
    threshold: float
    baseline_runs: int
    latest_metric: Mapping[str, Any] | None
    """The run's entry as in `command-metrics`; None where none is meant."""
    process_id: str | None
    """Of the run; of a missed execution, of the last one before it."""
    trace_id: str | None
    p_value: float | None
    test: str | None
    """Name of the statistical test."""
    summary: str
    """One sentence for people."""
    owner: str | None
    """Of the command, as the configuration names it."""
    detected_at: datetime
    """In UTC: of the anomaly, or of its end."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them; the moment in ISO 8601 with ``Z``."""
        moment = self.detected_at.astimezone(UTC).isoformat(timespec="microseconds")
        return asdict(self) | {"detected_at": moment.replace("+00:00", "Z")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PerformanceAnomalyDetected:
        """What `to_dict` gave; what a later version adds is left out.

        Raises:
            ValueError: A field is missing, a text or a number is none, or one of the few words
                that a field may be is another.
        """
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name not in values]
        if missing:
            raise ValueError(f"an event without {', '.join(missing)}")
        given: dict[str, Any] = {name: values[name] for name in names}
        for name in _TEXTS:
            if not isinstance(given[name], str):
                raise ValueError(f"an event whose {name} is no text")
        for name in _NUMBERS:
            if not isinstance(given[name], int | float):
                raise ValueError(f"an event whose {name} is no number")
        if given["state"] not in STATES or given["anomaly_severity"] not in SEVERITIES:
            raise ValueError("an event of an unknown state or severity")
        given["detected_at"] = datetime.fromisoformat(str(values["detected_at"]))
        return cls(**given)

    @classmethod
    def from_json(cls, text: str | bytes) -> PerformanceAnomalyDetected:
        """The same, of a text that anybody may have written.

        Raises:
            ValueError: It is none of an event.
        """
        try:
            values: object = json.loads(text)
        except RecursionError:
            raise ValueError("an event that is nested too deeply") from None
        if not isinstance(values, dict):
            raise ValueError("an event that is no object")
        return cls.from_dict(cast("dict[str, Any]", values))


Handler = Callable[[PerformanceAnomalyDetected], object]
"""Plain or ``async``; what it returns is ignored."""
H = TypeVar("H", bound=Handler)

_found: Final[list[Handler]] = []
_over: Final[list[Handler]] = []


def on_anomaly(handler: H) -> H:
    """Call it with each anomaly that begins, or becomes worse. A decorator.

    Handlers are called where anomalies are published: in the server's process, where that is yours
    too, by ``jobmon analyze`` and by ``jobmon events --import MODULE``.
    """
    if handler not in _found:
        _found.append(handler)
    return handler


def on_anomaly_resolved(handler: H) -> H:
    """Call it with each anomaly that is over. A decorator."""
    if handler not in _over:
        _over.append(handler)
    return handler


def handlers(state: State) -> tuple[Handler, ...]:
    """Who wants to hear of events in that state."""
    return tuple(_over if state == "resolved" else _found)
