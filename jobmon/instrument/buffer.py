"""What waits in this process for the flusher: bounded, in order, dropping the least first."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Final, TypeAlias

from jobmon.instrument.wire import Item, is_final, without_message
from jobmon.model import Transition

MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024
OVERHEAD_BYTES: Final = 768
"""Memory of an item beside its body and message: the tuple, ids, names and numbers."""

_Entry: TypeAlias = tuple[int, int, Item]
"""Position, size in bytes, item."""


def size_of(item: Item) -> int:
    """Bytes that an item is taken to occupy."""
    if isinstance(item, Transition):
        return OVERHEAD_BYTES + len(item.body) + len(item.message)
    return OVERHEAD_BYTES + len(item.body)


class Buffer:
    """Items in the order of their arrival, and the count of those it had to drop.

    Items being written stay counted until :meth:`settle`; they are never dropped. Adding is
    safe in a signal handler that interrupts another call: the lock is re-entrant, and each
    step leaves a state that the next one can work with.
    """

    def __init__(self, *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self.lock = threading.RLock()
        self.bytes = 0
        self.dropped: Counter[str] = Counter()
        """By reason, since the process began."""
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._next = 0
        self._open: deque[_Entry] = deque()
        self._final: deque[_Entry] = deque()
        self._taken: deque[_Entry] = deque()
        self._unreported: Counter[str] = Counter()

    def __len__(self) -> int:
        """Items held, those being written included."""
        return len(self._open) + len(self._final) + len(self._taken)

    @property
    def waiting(self) -> int:
        """Items that no write has taken yet."""
        return len(self._open) + len(self._final)

    def add(self, item: Item) -> int:
        """Append an item, dropping the oldest non-final ones while too much is held.

        Replayable messages get half of the room: no record has to go for them.

        Returns:
            How many wait now.
        """
        size = size_of(item)
        with self.lock:
            if self.bytes + size > self._max_bytes // 2:
                smaller = without_message(item)
                if smaller is not item:
                    item, size = smaller, size_of(smaller)
                    self.count_dropped("message")
            position = self._next
            self._next = position + 1
            (self._final if is_final(item) else self._open).append((position, size, item))
            self.bytes += size
            if self.bytes > self._max_bytes or len(self) > self._max_items:
                self._make_room()
            return len(self._open) + len(self._final)

    def take(self, max_items: int, max_bytes: int) -> list[Item]:
        """The oldest items, at least one if any wait; they stay held until :meth:`settle`."""
        with self.lock:
            taken = self._taken
            size = sum(entry[1] for entry in taken)
            while len(taken) < max_items and (source := self._oldest()):
                if taken and size + source[0][1] > max_bytes:
                    break
                size += source[0][1]
                taken.append(source.popleft())
            return [entry[2] for entry in taken]

    def settle(self, number: int) -> None:
        """The first so many of the items taken are written, or given up."""
        with self.lock:
            for _ in range(number):
                self.bytes -= self._taken.popleft()[1]
            if not len(self):
                self.bytes = 0

    def position(self) -> int:
        """Where the next item goes; see :meth:`settled`."""
        return self._next

    def settled(self, position: int) -> bool:
        """Whether everything added before this position has left."""
        with self.lock:
            sources = (self._taken, self._open, self._final)
            return all(not source or source[0][0] >= position for source in sources)

    def count_dropped(self, reason: str, number: int = 1) -> None:
        """Count items lost here or on their way here."""
        with self.lock:
            self.dropped[reason] += number
            self._unreported[reason] += number

    def unreported(self) -> dict[str, int]:
        """Dropped, by reason, and not yet told to the store."""
        with self.lock:
            return dict(self._unreported)

    def reported(self, counts: dict[str, int]) -> None:
        """The store knows of these."""
        with self.lock:
            self._unreported.subtract(counts)
            self._unreported = +self._unreported

    def _oldest(self) -> deque[_Entry] | None:
        if not self._open:
            return self._final or None
        if not self._final or self._open[0][0] < self._final[0][0]:
            return self._open
        return self._final

    def _make_room(self) -> None:
        while self.bytes > self._max_bytes or len(self) > self._max_items:
            source = self._open or self._final
            if not source:
                return
            self.bytes -= source.popleft()[1]
            self.count_dropped("overflow")
