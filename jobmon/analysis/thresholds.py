"""The least effects that count."""

from __future__ import annotations

from dataclasses import dataclass

from jobmon.settings import PerCommand
from jobmon.settings.schema import AnalyzeMode


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

    @classmethod
    def of(cls, general: AnalyzeMode, command: PerCommand) -> Thresholds:
        """The settings' own, where the command has none."""

        def either(name: str) -> float:
            own = getattr(command, name)
            return float(getattr(general, name) if own is None else own)

        return cls(
            slower=either("performance_threshold"),
            faster=either("performance_threshold_lower"),
            more_jobs=either("job_count_threshold"),
            fewer_jobs=either("job_count_threshold_lower"),
            more_failures=either("failed_jobs_threshold"),
            fewer_failures=either("failed_jobs_threshold_lower"),
            more_memory=either("memory_threshold"),
            longer_queue=either("queue_time_threshold"),
        )
