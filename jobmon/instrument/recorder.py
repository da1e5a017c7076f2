"""What the hooks call: one recorder per process, whatever that process is.

A producer or worker main process writes through its own buffer and thread; a child of a worker
hands over to the main process; a process that a job forks itself records nothing, or its copy
of the job's stack would record the job's end a second time.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from jobmon.instrument import handover
from jobmon.instrument.buffer import Buffer, size_of
from jobmon.instrument.flusher import MAX_BATCH, MAX_BATCH_BYTES, Flusher
from jobmon.instrument.guard import guarded, note, thrown_in
from jobmon.instrument.handover import Handover, MainProcessGoneError, Sender
from jobmon.instrument.pulse import Pulse
from jobmon.instrument.wire import Item, without_message
from jobmon.settings import Settings

_LOG: Final = logging.getLogger("jobmon")


class Releasable(Protocol):
    """A lock."""

    def release(self) -> None:
        """Let others have it."""
        ...


class Role(StrEnum):
    """What a process does with what its hooks record."""

    WRITER = "writer"
    """Writes itself: producers, pools that do not fork."""
    MAIN = "main"
    """Writes, and takes what its children hand over."""
    CHILD = "child"
    """Hands over to the process that forked it."""
    ORPHAN = "orphan"
    """A child whose main process is gone: writes itself."""
    MUTE = "mute"
    """Forked by a job: records nothing."""


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """Counts of this process, since it began."""

    role: Role
    written: int = 0
    received: int = 0
    """Received from children, by a main process."""
    waiting: int = 0
    """Held by a child, the main process being too slow."""
    beats: int = 0
    """Calls that carried beats and were answered."""
    failures: int = 0
    """Calls that the store did not answer, or refused."""
    last_error: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Lost, by reason: ``overflow`` (buffer full), ``handover`` (main process too slow),
    ``gap`` (sent by a child, never received), ``too_large``, ``malformed``, ``schema`` (the
    store's is newer), ``error`` (a defect of ours); ``message``: not the transition, only its
    replayable message, too large or for want of room."""


class Recorder:
    """The recorder of one process."""

    def __init__(self, settings: Settings | None, *, role: Role = Role.WRITER) -> None:
        self.pid = os.getpid()
        self.role = role
        self.settings = settings
        self.buffer = Buffer()
        self.pulse = Pulse()
        self.flusher = None if settings is None else Flusher(self.buffer, settings, self.pulse)
        self.handover: Handover | None = None
        self.sender: Sender | None = None
        self.children_settle_late = False
        """See the function of this name."""
        self._exit_prepared = False

    def record(self, item: Item) -> None:
        """Take one transition."""
        if size_of(item) > MAX_BATCH_BYTES:
            smaller = without_message(item)
            if smaller is not item:
                self.count_dropped("message")
            item = smaller
            if size_of(item) > MAX_BATCH_BYTES:
                self.count_dropped("too_large")
                return
        sender = self.sender
        if sender is not None:
            try:
                sender.send(item)
            except MainProcessGoneError:
                self._write_myself(sender)
        elif self.role is not Role.MUTE:
            self._add(item)

    def count_dropped(self, reason: str) -> None:
        """Count something lost before it was recorded, or a part of it."""
        sender = self.sender
        if sender is not None:
            sender.count_dropped(reason)
        else:
            self.buffer.count_dropped(reason)

    def open_handover(self, heard: Callable[[Item], None] | None = None) -> None:
        """Become a worker's main process, ready to fork."""
        if self.handover is not None or self.flusher is None:
            return
        self.flusher.prepare()

        def receive(item: Item) -> None:
            self._add(item)
            if heard is not None:
                heard(item)

        take = self._add if heard is None else receive
        self.handover = Handover(take, self.buffer.count_dropped)
        self.handover.start()
        self.sender = None
        self.role = Role.MAIN

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all recorded so far has left this process for good."""
        deadline = time.monotonic() + timeout_seconds
        sender = self.sender
        if sender is not None:
            try:
                return sender.flush(timeout_seconds)
            except MainProcessGoneError:
                self._write_myself(sender)
        if self.handover is not None:
            self.handover.barrier(timeout_seconds)
        if self.flusher is None:
            return not len(self.buffer)
        return self.flusher.flush(max(0.0, deadline - time.monotonic()))

    def shutdown(self) -> None:
        """Flush within ``recorder.shutdown_timeout``, then give up and say so."""
        if self.settings is None:
            return
        deadline = time.monotonic() + self.settings.recorder.shutdown_timeout
        self.flush(max(0.0, deadline - time.monotonic()))
        if self.flusher is not None and self.sender is None:
            self.flusher.stop(max(0.0, deadline - time.monotonic()))
        left = len(self.buffer) + (0 if self.sender is None else self.sender.waiting)
        if left:
            _LOG.warning("jobmon: %d transitions could not be written in time", left)

    def close(self) -> None:
        """Shut down and give back every descriptor."""
        self.shutdown()
        if self.handover is not None:
            self.handover.close()
            self.handover = None
            self.role = Role.WRITER
        if self.sender is not None:
            self.sender.close()

    @property
    def beats(self) -> bool:
        """Whether this process says itself that it lives; of a child, its main process does."""
        return self.flusher is not None and self.role not in (Role.CHILD, Role.MUTE)

    def beat(self) -> None:
        """Something of this process's pulse changed: see to it, unless others beat for it."""
        if self.flusher is not None and self.beats:
            self._prepare_exit()
            self.flusher.wake()

    def stats(self) -> RecorderStats:
        """Counts of this process."""
        sender, flusher, received = self.sender, self.flusher, self.handover
        dropped = Counter(self.buffer.dropped)
        if sender is not None:
            dropped.update(sender.dropped)
        if flusher is not None:
            dropped.update(+flusher.refused)
        return RecorderStats(
            role=self.role,
            written=0 if flusher is None else flusher.written,
            received=0 if received is None else received.received,
            waiting=0 if sender is None else sender.waiting,
            beats=0 if flusher is None else flusher.beats,
            failures=0 if flusher is None else flusher.failures,
            last_error="" if flusher is None else flusher.last_error,
            dropped=dict(dropped),
        )

    def _add(self, item: Item) -> None:
        waiting = self.buffer.add(item)
        if (waiting == 1 or waiting == MAX_BATCH) and self.flusher is not None:
            self._prepare_exit()
            self.flusher.wake()

    def _prepare_exit(self) -> None:
        if not self._exit_prepared:
            self._exit_prepared = True
            _shut_down_with_multiprocessing()

    def _write_myself(self, sender: Sender) -> None:
        # Several threads may come here, each after it left an item with the sender.
        self.sender = None
        self.role = Role.ORPHAN
        items, dropped = sender.take_back()
        for reason, number in dropped.items():
            self.buffer.count_dropped(reason, number)
        for item in items:
            self._add(item)


_recorder: Recorder = Recorder(None)
_inherited: list[Recorder] = []
"""Recorders of parents: never used again, never freed, lest a finalizer touch their sockets."""
_forks: list[list[Releasable]] = []
"""Locks held for forks in progress."""
_settling = threading.Lock()


def configure(settings: Settings) -> None:
    """Say where this process writes; what was recorded before is written now.

    A process that was spawned with a hand-over socket hands over instead.
    """
    if _recorder.settings is not None:
        return
    # The flusher may come to import redis when the interpreter is already ending, and redis
    # imports this, which then refuses.
    import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport]

    _recorder.settings = settings
    _recorder.flusher = Flusher(_recorder.buffer, settings, _recorder.pulse)
    sender = handover.inherited()
    if sender is not None:
        _recorder.sender = sender
        _recorder.role = Role.CHILD
    elif _recorder.buffer.waiting or _recorder.pulse.beats:
        _recorder.flusher.wake()


def record(item: Item) -> None:
    """Take one transition: microseconds, no I/O but one datagram in a child; never raises.

    A child blocks at most 20 ms for a final transition, while its main process does not read.
    """
    try:
        own().record(item)
    except BaseException as error:
        if thrown_in(error):
            raise
        note("recording a transition")


@guarded
def count_dropped(reason: str) -> None:
    """Count something lost before it was recorded, or a part of it."""
    own().count_dropped(reason)


@guarded
def open_handover(heard: Callable[[Item], None] | None = None) -> None:
    """Make this process the main process of a worker, before its first fork.

    Imports and opens all that writing needs, so that no fork meets a half-imported module.

    Args:
        heard: Called with each transition of a child, on the thread that reads them; must
            not block.
    """
    own().open_handover(heard)


@guarded
def stand_alone() -> None:
    """Write by itself from now on, in a process that a worker forked for something else than jobs.

    A scheduler inside of a worker beats for itself, and may have closed the hand-over unawares.
    """
    global _recorder
    former = own()
    if former.role not in (Role.CHILD, Role.MUTE):
        return
    _inherited.append(former)
    _recorder = Recorder(former.settings)
    if former.sender is not None:
        for item in former.sender.take_back()[0]:
            _recorder.record(item)


def children_settle_late(late: bool) -> None:
    """Say of the next children of this process that they may well record nothing.

    Settling what a child is costs it some hundred pages copied from its parent; late, it does so
    only when it has something to say. For one child at a time: until it settles, a child keeps
    a copy of the end that its siblings would see closed when their main process dies.
    """
    _recorder.children_settle_late = late


@guarded
def catch_up(timeout_seconds: float) -> bool:
    """Wait until all that children have sent so far has been received here."""
    return _recorder.handover is None or _recorder.handover.barrier(timeout_seconds)


@contextmanager
def spawning() -> Generator[None]:
    """Let a process that is spawned inside, not forked, hand over to this one.

    It finds the descriptor's number in ``JOBMON_HANDOVER_FD``.
    """
    if _recorder.handover is None:
        yield
        return
    with _recorder.handover.spawning():
        yield


def flush(timeout_seconds: float) -> bool:
    """Wait until all that was recorded here is written, or handed over.

    Needed at the end of a job in a child that ends in ``os._exit``; costs nothing there unless
    the main process is stopped, slow or gone.

    Returns:
        True when nothing is left.
    """
    if _recorder.pid != os.getpid():  # nothing was recorded here
        return True
    return bool(_guarded_flush(timeout_seconds))


@guarded
def shutdown() -> None:
    """Write what waits, within ``recorder.shutdown_timeout``; recording after it still works."""
    if _recorder.pid == os.getpid():
        _recorder.shutdown()


def stats() -> RecorderStats:
    """Counts of this process, since it began."""
    return own().stats()


@guarded
def _guarded_flush(timeout_seconds: float) -> bool:
    return _recorder.flush(timeout_seconds)


def own() -> Recorder:
    """This process's recorder, made now where a fork has left it with its parent's."""
    if _recorder.pid != os.getpid():
        with _settling:
            if _recorder.pid != os.getpid():
                _settle()
    return _recorder


def _before_fork() -> None:
    recorder = own()
    held: list[Releasable] = []
    if recorder.flusher is not None and recorder.flusher.hold():
        held.append(recorder.flusher.gate)
    for owner in (recorder.sender, recorder.buffer):
        if owner is not None:
            owner.lock.acquire()
            held.append(owner.lock)
    _forks.append(held)


def _after_fork_in_parent() -> None:
    if _forks:
        for lock in reversed(_forks.pop()):
            lock.release()


def _after_fork_in_child() -> None:
    if not _recorder.children_settle_late:
        _settle()


def _settle() -> None:
    global _recorder
    parent = _recorder
    _inherited.append(parent)
    _forks.clear()
    _recorder = child = Recorder(parent.settings)
    if parent.role is Role.MAIN and parent.handover is not None:
        try:
            child.sender = parent.handover.in_child()
            child.role = Role.CHILD
        except OSError:  # somebody closed it
            child.role = Role.ORPHAN
    elif parent.role is not Role.WRITER:
        child.role = Role.MUTE
        if parent.sender is not None:
            parent.sender.close()


def _shut_down_with_multiprocessing() -> None:
    """In a child of ``multiprocessing``, which ends in ``os._exit``: flush before."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, shutdown, exitpriority=0)


if sys.platform != "win32":
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
atexit.register(shutdown)
