"""The least effects that count."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Ratios of a run's number to what was to be expected. Beyond one, significance decides."""

    slower: float = 1.5
    faster: float = 0.5
    more_jobs: float = 2.0
    fewer_jobs: float = 0.5
    more_failures: float = 2.0
    fewer_failures: float = 0.5
    more_memory: float = 1.25
    longer_queue: float = 2.0
