"""Schedulers of this process: whether their loops turn, and what they are going to send.

A scheduler lives by its loop alone. Each turn says when the next is to come, so that one which
sleeps for five minutes is alive, and one which stands still is not, whatever its process does.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from jobmon.instrument import beats, recorder
from jobmon.instrument.entries import EntryRun
from jobmon.instrument.quiet import quiet
from jobmon.model import Beat
from jobmon.store.series import SEPARATOR

MOST_ENTRIES: Final = 1_000
"""Of one scheduler; further ones are counted."""
READ_EVERY_SECONDS: Final = 10.0
"""How old what is known of a schedule may be while its loop turns, unless reading it is costly."""
_READ_SHARE: Final = 0.005
"""Of the loop's time."""
_READ_AT_LEAST_EVERY_SECONDS: Final = 300.0
_ENTRIES_A_BEAT: Final = 100
_TAKEN_BACK: Final = 3
"""How often a removed entry is taken back: a beat may be lost."""
_LONGEST_ENTRY_ID: Final = 400
_OF_ENTRIES: Final = ("engine", "kind", "app", "lineage")
"""Of what a scheduler says of itself: its entries outlive it."""


class Entry(NamedTuple):
    """One entry of a schedule, as a scheduler knows it. Times are Unix seconds, None if unknown."""

    name: str
    job_name: str
    schedule: str
    timezone: str = ""
    queue: str = ""
    next_due_at: float | None = None
    last_sent_at: float | None = None
    enabled: bool = True
    sent_count: int | None = None
    """By the scheduler's own count, which may outlive its process."""


class Sent(NamedTuple):
    """The last time that an entry fired in this process."""

    last_due_at: float | None
    last_sent_at: float | None
    """None: it could not be sent."""
    last_run_id: str
    error: str


class Scheduler:
    """One scheduler of this process.

    Its loop's own thread calls all but :meth:`beats`, which the recorder's thread calls.

    Args:
        engine: ``celery`` or ``rq``.
        kind: ``beat``, ``cron`` or ``scheduled``: RQ's, of jobs with a time of their own.
        name: For people; need not be unique.
        about: What else to show of it. Like its name, it is the same in the process that takes its
            place, and another for another schedule.
    """

    def __init__(self, engine: str, kind: str, name: str, about: Mapping[str, object]) -> None:
        self.id: Final = f"{platform.node()[:100]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.about: dict[str, object] = dict(about)
        self._constant: dict[str, object] = {
            "engine": engine,
            "kind": kind,
            "name": name,
            "hostname": platform.node(),
            "pid": os.getpid(),
            "started_at": time.time(),
        }
        self._turning = True
        self._since = time.monotonic()
        """While it turns: when that began. While it waits: when the next turn is to come."""
        self._turned_at = time.time()
        self._turns = 0
        self._entries: dict[str, Entry] = {}
        self._entry_count: int | None = None
        self._next_due_at: float | None = None
        self._read_at = float("-inf")
        self._read_every = READ_EVERY_SECONDS
        self._as_of: float | None = None
        self._sent: dict[str, Sent] = {}
        self._told: dict[str, bytes] = {}
        self._taken_back: dict[str, int] = {}
        self._turn_of = 0
        self._left = self._gone = False

    def live(self) -> None:
        """Beat for it from now on."""
        recorder.stand_alone()
        settings = recorder.own().settings
        if settings is not None:
            self._constant |= {
                "app": settings.app,
                "beats_every": settings.beats.interval_seconds,
                "lineage": self._lineage(settings.app, settings.environment),
            }
        beats.beat_with(self.beats)

    def _lineage(self, *deployed: str) -> str:
        """What a restart does not change, and hardly another schedule has."""
        own = (self._constant[name] for name in ("engine", "kind", "name"))
        parts = (*deployed, *own, *self.about.values())
        return sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:16]

    def leave(self) -> None:
        """Its loop ended as it should; its entries stay to be seen."""
        self._left = True
        beats.beat_soon()

    def turn(self) -> None:
        """Its loop begins a turn."""
        self._turning = True
        self._since = time.monotonic()
        self._turned_at = time.time()
        self._turns += 1

    def wait(self, seconds: object) -> None:
        """Its loop ended a turn, and is going to sleep for so long."""
        sleep = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 0.0
        self._since = time.monotonic() + sleep
        self._turning = False

    def must_read(self) -> bool:
        """Whether to read the schedule now: it was not for a while, or will not be for a while."""
        due = self._read_at + self._read_every
        return (time.monotonic() if self._turning else self._since) >= due

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read the schedule inside, the less often the longer that takes, and if it fails."""
        began = self._read_at = time.monotonic()
        try:
            with quiet():
                yield
        finally:
            self._read_at = time.monotonic()
            every = max(READ_EVERY_SECONDS, (self._read_at - began) / _READ_SHARE)
            self._read_every = min(every, _READ_AT_LEAST_EVERY_SECONDS)

    def shows(self, entries: Iterable[Entry], count: int, next_due_at: float | None = None) -> None:
        """These are the entries of its schedule.

        Args:
            entries: Those beyond :data:`MOST_ENTRIES` are left out.
            count: How many there are in all.
            next_due_at: When it has to send something next; by default, that of its entries.
        """
        is_news = self._as_of is None
        self._as_of = time.time()
        kept: dict[str, Entry] = {}
        for entry in entries:
            if len(kept) >= MOST_ENTRIES:
                break
            kept[_unique(entry.name, kept)] = entry
        self._entries, self._entry_count = kept, count
        dues = [one.next_due_at for one in kept.values() if one.next_due_at and one.enabled]
        self._next_due_at = next_due_at if next_due_at is not None else min(dues, default=None)
        if len(self._sent) > 2 * MOST_ENTRIES:
            self._sent = {name: sent for name, sent in self._sent.items() if name in kept}
        if is_news:
            beats.beat_soon()

    def fired(self, run: EntryRun) -> None:
        """One of its entries fired."""
        self._sent[run.name] = Sent(
            run.due_at or None, run.sent_at or None, run.id if run.recorded else "", run.error
        )

    def beats(self) -> Iterator[Beat]:
        """What says that it lives, with some of its entries: what changed, the others in turn."""
        if self._gone:
            beats.stop_beating(self.beats)
            return
        now = time.monotonic()
        age = max(0.0, now - self._since)
        self._gone = self._left
        yield Beat("scheduler", self.id, int(age * 1000), self._body(now), gone=self._gone)
        yield from self._entry_beats()

    def _body(self, now: float) -> bytes:
        turning = self._turning
        return _json(
            self._constant
            | self.about
            | {
                "last_turn_at": self._turned_at,
                "next_turn_at": None if turning else time.time() + self._since - now,
                "turns": self._turns,
                "entries": self._entry_count,
                "next_due_at": self._next_due_at,
                "as_of": self._as_of,
            }
        )

    def _entry_beats(self) -> Iterator[Beat]:
        entries = self._entries
        texts = {name: self._entry(name, entry) for name, entry in entries.items()}
        chosen = [name for name, text in texts.items() if self._told.get(name) != text]
        del chosen[_ENTRIES_A_BEAT:]
        names = list(texts)
        for offset in range(len(names)):
            if len(chosen) >= min(_ENTRIES_A_BEAT, len(names)):
                break
            name = names[(self._turn_of + offset) % len(names)]
            if name not in chosen:
                chosen.append(name)
        if names:
            self._turn_of = (self._turn_of + _ENTRIES_A_BEAT) % len(names)
        for name in self._told.keys() - texts.keys():
            del self._told[name]
            self._taken_back[name] = _TAKEN_BACK
        for name in list(self._taken_back):
            if name in texts or not self._taken_back[name]:
                del self._taken_back[name]
                continue
            self._taken_back[name] -= 1
            yield Beat("schedule", self._entry_id(name), gone=True)
        for name in chosen:
            self._told[name] = texts[name]
            yield Beat("schedule", self._entry_id(name), 0, texts[name])

    def _entry_id(self, name: str) -> str:
        text = f"{self.id}{SEPARATOR}{name}".encode("utf-8", "replace")
        return text[:_LONGEST_ENTRY_ID].decode("utf-8", "ignore")

    def _entry(self, key: str, entry: Entry) -> bytes:
        sent = self._sent.get(entry.name) if key == entry.name else None
        members = entry._asdict()
        members |= {name: self._constant.get(name) for name in _OF_ENTRIES}
        if sent is not None:
            members |= {name: value for name, value in sent._asdict().items() if value is not None}
        return _json(members)


def unix(moment: object) -> float | None:
    """Unix seconds of a datetime; one without a zone is taken for UTC. None for anything else."""
    if not isinstance(moment, datetime):
        return None
    try:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError, OSError):
        return None


def _unique(name: str, taken: Mapping[str, object]) -> str:
    """A key for an entry: several may share a name."""
    key, number = name, 1
    while key in taken:
        number += 1
        key = f"{name} #{number}"
    return key


def _json(members: Mapping[str, Any]) -> bytes:
    known = {name: value for name, value in members.items() if value is not None and value != ""}
    text = json.dumps(known, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "replace")
