"""What of this process beats, and when next: kept by the recorder, asked by its flusher."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from jobmon.instrument.guard import guarded
from jobmon.model import Beat

Source: TypeAlias = Callable[[], Iterable[Beat]]
Missing: TypeAlias = Callable[[str], None]

_ENDS_WITH_ITS_SOURCE: Final = frozenset({"worker", "scheduler"})
"""A run's own end takes its beats back; the schedule of a scheduler that stopped stays."""


class Pulse:
    """The sources of beats of one process. A fork begins with none: children never beat.

    Takes no lock: sources come and go in the users' threads, the flusher asks a copy.
    """

    def __init__(self) -> None:
        self.interval_seconds = 10.0
        """From the settings, as soon as there are any."""
        self._next: float | None = None
        """Monotonic; None while nothing beats."""
        self._sources: dict[Source, Missing | None] = {}
        self._known: dict[Source, set[tuple[str, str]]] = {}
        """What each source beat for, to be taken back when it ends."""
        self._farewells: list[Beat] = []

    @property
    def beats(self) -> bool:
        """Whether there is anything to beat for."""
        return bool(self._sources)

    def add(self, source: Source, missing: Missing | None, *, at_once: bool) -> bool:
        """Take a source; True unless it was there."""
        if source in self._sources:
            return False
        self._sources[source] = missing
        due = time.monotonic() + (0.0 if at_once else self.interval_seconds)
        self._next = due if self._next is None else min(self._next, due)
        return True

    def hurry(self) -> None:
        """Something changed that is not to wait: ask all sources now."""
        if self._next is not None:
            self._next = time.monotonic()

    def remove(self, source: Source) -> bool:
        """Let go of a source; True where what it beat for is still to be taken back."""
        self._sources.pop(source, None)
        known = self._known.pop(source, None) or ()
        self._farewells += [Beat(kind, name, gone=True) for kind, name in known]
        if not self._sources:
            self._next = None
        return bool(known)

    def seconds_left(self) -> float | None:
        """Time until something is to be sent, at most 0 when it is; None: nothing beats."""
        if self._farewells:
            return 0.0
        due = self._next
        return None if due is None else due - time.monotonic()

    def due(self) -> bool:
        """Whether something is to be sent now."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def collect(self) -> list[Beat]:
        """All that beats now; the next time is an interval from here."""
        if self._next is not None:
            self._next = time.monotonic() + self.interval_seconds
        beats, self._farewells = self._farewells, []
        for source in tuple(self._sources):
            beats += self._ask(source)
        return beats

    def leave(self) -> list[Beat]:
        """What takes all of it back, at the end of the process."""
        beats, self._farewells = self._farewells, []
        for known in self._known.values():
            beats += [Beat(kind, name, gone=True) for kind, name in known]
        self._known.clear()
        return beats

    def tell_missing(self, ids: Iterable[str]) -> None:
        """Pass on which runs the store does not hold as running."""
        for one in ids:
            for missing in tuple(self._sources.values()):
                if missing is not None:
                    guarded(missing)(one)

    def _ask(self, source: Source) -> list[Beat]:
        beats = guarded(lambda: list(source()))() or []
        self._known[source] = {
            (beat.kind, beat.id)
            for beat in beats
            if beat.kind in _ENDS_WITH_ITS_SOURCE and not beat.gone
        }
        if source not in self._sources:  # it was removed meanwhile
            self._known.pop(source, None)
            return []
        return beats
