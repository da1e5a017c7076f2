"""Runs and workers that fell silent: their processes died without a word.

The guess is taken back when one of them turns up: a run says that it goes on, a worker beats.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from jobmon.model import Outcome
from jobmon.store import lost_jobs, script, workers
from jobmon.store.keys import SCHEMA_VERSION, Keys
from jobmon.store.members import decoded
from jobmon.store.run_record import end
from jobmon.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from jobmon.model import RunTransition
    from jobmon.settings import Settings

LOST_WORKER_KEPT_SECONDS: Final = 600.0
"""After the verdict: long enough that nobody overlooks it."""
_NAMED_SECONDS: Final = 60.0
_MOST_RUNS: Final = 100
_LONGEST_INTERVAL_SECONDS: Final = 10.0
_INTERVALS: Final = 20
_LEAST_BEATS: Final = 4
_PAUSE: Final = 0.25
"""Of the silence. One beat missed before a pause and one after it, the rest is still no silence."""
_SCRIPT: Final = script.read("reaper.lua")

_logger: Final = logging.getLogger("jobmon.store")


class Reaped(NamedTuple):
    """What one pass found."""

    judged: bool = False
    """False: nobody has listened for long enough to tell silence from deafness."""
    runs: int = 0
    """Taken for lost now."""
    workers: int = 0
    """The same."""


class Reaper:
    """Judges who beat and no longer does. Every server may have one; together they do no harm."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        keys = self._names = Keys(settings.redis.prefix)
        self._client = client
        self._writer = Writer(client, settings)
        self.silence_seconds: Final = max(
            settings.reaper.lost_after_seconds, _LEAST_BEATS * settings.beats.interval_seconds
        )
        self.interval_seconds: Final = min(
            self.silence_seconds / _INTERVALS, _LONGEST_INTERVAL_SECONDS
        )
        """Between two passes."""
        self._keys = (
            *(keys.meta, keys.recorder_totals),
            *(keys.workers, keys.worker_beats, keys.lost_workers),
            *(keys.run_beats, keys.running),
        )
        self._arguments = (
            SCHEMA_VERSION,
            int(self.silence_seconds * 1000),
            int(self.silence_seconds * _PAUSE * 1000),
            int(LOST_WORKER_KEPT_SECONDS * 1000),
            int(_NAMED_SECONDS * 1000),
            _MOST_RUNS,
        )

    def reap(self) -> Reaped:
        """One pass.

        Raises:
            redis.RedisError: The store cannot be asked, or does not take the verdict.
        """
        answer = _SCRIPT.run(self._client, len(self._keys), [*self._keys, *self._arguments])
        if answer[0] == -1:
            return Reaped()
        judges, newly, named = answer[:3]
        runs_from = 3 + 3 * named
        if named:
            self._lose_jobs({one.decode("utf-8", "replace") for one in answer[3:runs_from:3]})
        ends = list(self._ends(answer[runs_from:]))
        # A run that has beaten meanwhile is not lost: the store compares with its last beat.
        lost = self._writer.apply(ends).applied if ends else 0
        if newly or lost:
            _logger.warning(
                "%d workers and %d command runs have been silent for %.0f s: they are taken for "
                "lost",
                newly,
                lost,
                self.silence_seconds,
            )
        return Reaped(bool(judges), lost, newly)

    def _lose_jobs(self, lost: set[str]) -> None:
        everyone = workers.read_all(self._client, self._names)
        ends = lost_jobs.of(self._client, self._names, everyone, lost)
        if ends:
            self._writer.apply(ends)

    def _ends(self, said: Sequence[bytes]) -> Iterator[RunTransition]:
        for at in range(0, len(said), 3):
            run_id, beat_ms, body = said[at : at + 3]
            run = decoded(body)
            if run is None or not isinstance(run.get("command"), str):
                self._client.zrem(self._names.run_beats, run_id)  # nobody can tell its end
                continue
            run["id"] = run_id.decode("utf-8", "replace")
            yield end(run, Outcome.LOST, float(beat_ms) / 1000)
