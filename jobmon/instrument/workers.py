"""Workers of this process: that their main processes live, and which jobs they run now."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from jobmon.instrument import beats, recorder
from jobmon.instrument.guard import guarded
from jobmon.instrument.memory import resident_bytes
from jobmon.model import Beat
from jobmon.store.series import label_set

MOST_RUNNING: Final = 200
"""Ids of running jobs in one beat; the number of all is told too."""
MOST_QUEUES: Final = 200
MOST_JOBS: Final = 500
JOBS_EVERY_SECONDS: Final = 600.0
"""Time between two tellings of the jobs that it knows; the store may have missed the last one."""
_LONGEST_NAME: Final = 255
_MOST_BYTES_OF_IDS: Final = 20 * 1024
_MOST_BYTES_OF_QUEUES: Final = 8 * 1024


class Now(NamedTuple):
    """What a worker is and does at this moment."""

    queues: Iterable[str]
    slots: int
    """How many jobs it can run at a time."""
    busy: int
    """How many it runs."""
    running: Iterable[tuple[str, str]]
    """Process id and job id of each; no more are taken than are told."""


class Worker:
    """One worker whose main process is this one.

    Args:
        engine: ``celery`` or ``rq``.
        name: The engine's own for it.
        pool: How it runs its jobs: ``prefork``, ``threads``, ``fork``, …
        version: Of the engine.
        now: Asked at each beat, on the recorder's thread.
        known: Queue and name of each job that it can run; asked from time to time, as ``now``.
            None: that is not known yet.
    """

    def __init__(
        self,
        engine: str,
        name: str,
        pool: str,
        version: str,
        now: Callable[[], Now],
        known: Callable[[], Iterable[tuple[str, str]] | None] = tuple,
    ) -> None:
        self.id: Final = f"{platform.node()[:100]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._now = now
        self._known = known
        self._engine = engine
        self._jobs_due = time.monotonic()
        # The reaper counts by the first member.
        self._constant: Final[dict[str, object]] = {
            "engine": engine,
            "name": name[:_LONGEST_NAME],
            "hostname": platform.node(),
            "pid": os.getpid(),
            "pool": pool,
            "version": version,
            "started_at": time.time(),
        }

    def live(self) -> None:
        """Beat for it from now on."""
        settings = recorder.own().settings
        if settings is not None:
            self._constant["app"] = settings.app
            self._constant["beats_every"] = settings.beats.interval_seconds
        beats.beat_with(self.beats)

    def leave(self) -> None:
        """It ended as it should."""
        beats.stop_beating(self.beats)

    def beats(self) -> Iterator[Beat]:
        """What says that it lives, even where it cannot be told what it does."""
        told = self._constant | (guarded(self._told)() or {})
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":"), default=str)
        yield Beat("worker", self.id, body=body.encode("utf-8", "replace"))
        yield from guarded(self._known_jobs)() or ()

    def _known_jobs(self) -> list[Beat]:
        if time.monotonic() < self._jobs_due:
            return []
        known = self._known()
        if known is None:
            return []
        self._jobs_due = time.monotonic() + JOBS_EVERY_SECONDS
        return [
            Beat("job", label_set(self._engine, queue, name).decode())
            for queue, name in islice(known, MOST_JOBS)
        ]

    def _told(self) -> dict[str, object]:
        now = self._now()
        return {
            "queues": _bounded(
                (name[:_LONGEST_NAME] for name in now.queues), MOST_QUEUES, _MOST_BYTES_OF_QUEUES
            ),
            "slots": now.slots,
            "busy": now.busy,
            "running": _bounded(map("/".join, now.running), MOST_RUNNING, _MOST_BYTES_OF_IDS),
            "resident_memory_bytes": resident_bytes(),
        }


def _bounded(members: Iterable[str], most: int, most_bytes: int) -> list[str]:
    size, kept = 0, list(islice(members, most))
    for place, member in enumerate(kept):
        size += len(member.encode("utf-8", "replace"))
        if size > most_bytes:
            return kept[:place]
    return kept
