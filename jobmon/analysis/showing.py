"""Tells the store which incidents are open, for those who look at that alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from jobmon.settings import for_command
from jobmon.store.anomalies import MOST_SHOWN, SHOWN_SECONDS, ShownAnomalies, ShownAnomaly

if TYPE_CHECKING:
    import redis

    from jobmon.history.incidents import Incident, Incidents
    from jobmon.settings import Settings


class Showing:
    """Takes it from the history. Called under the lease of the analysis."""

    def __init__(self, incidents: Incidents, client: redis.Redis, settings: Settings) -> None:
        self._incidents = incidents
        self._shown = ShownAnomalies(client, settings)
        self._settings = settings

    def count(self) -> None:
        """Count what has opened since it was counted last.

        Raises:
            DatabaseUnavailable: The database cannot be asked.
            redis.RedisError: The store cannot be asked.
        """
        before = self._shown.counted()
        last = self._incidents.last_event()
        if before == last:
            return
        # Of a history that was there before, or is another one, nobody knows what was counted.
        is_known = before is not None and before < last
        opened = self._incidents.opened(before, last) if is_known and before is not None else {}
        self._shown.count(before, last, opened)

    def update(self, at: datetime) -> None:
        """Show what is open now, and what has ended within the last hour.

        Raises:
            DatabaseUnavailable: The database cannot be asked.
            redis.RedisError: The store cannot be asked.
        """
        before = self._shown.read()
        since = at - timedelta(days=self._settings.analyze_mode.retention_days)
        told = self._incidents.told(since, MOST_SHOWN)
        after = {one.anomaly_id: _shown(one) for one in told}
        ended = before.keys() - after.keys()
        for one in self._incidents.of(sorted(ended)):
            gone = one.resolved_at
            if gone is not None and at - gone < timedelta(seconds=SHOWN_SECONDS):
                after[one.anomaly_id] = _shown(one)
        loud = ((name, one) for name, one in after.items() if not self._is_muted(one))
        self._shown.write(before, dict(islice(loud, MOST_SHOWN)))
        self.count()

    def _is_muted(self, one: ShownAnomaly) -> bool:
        return for_command(self._settings, one.command).mute


def _shown(one: Incident) -> ShownAnomaly:
    return ShownAnomaly(
        command=one.command_name,
        app=one.app,
        environment=one.environment,
        signal=one.anomaly_type,
        severity=one.severity,
        ratio=one.ratio,
        summary=one.summary,
        owner=one.owner,
        opened_at=one.detected_at.timestamp(),
        resolved_at=None if one.resolved_at is None else one.resolved_at.timestamp(),
    )
