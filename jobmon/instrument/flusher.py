"""The one thread of a writing process that carries its buffer into the store."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from jobmon.instrument.bell import Bell
from jobmon.instrument.buffer import Buffer
from jobmon.instrument.guard import guarded, note, thrown_in
from jobmon.instrument.pulse import Pulse
from jobmon.instrument.quiet import quiet
from jobmon.instrument.wire import Item, is_final
from jobmon.model import Beat, Stage, Transition

if TYPE_CHECKING:
    import redis

    from jobmon.settings import Settings
    from jobmon.store.beats import Beats
    from jobmon.store.writer import Writer

LINGER_SECONDS: Final = 0.08
"""How long the first waiting item waits for company."""
MAX_BACKOFF_SECONDS: Final = 5.0
FORK_WAIT_SECONDS: Final = 0.005
IMPORT_WAIT_SECONDS: Final = 2.0
LOG_EVERY_SECONDS: Final = 60.0
_IMPORTED_BY_CONNECTING: Final = ("email.parser", "encodings.idna")
"""Imported beforehand: a fork does not wait for a thread that is connecting."""
_SHORTEST_BACKOFF_SECONDS: Final = 0.01

MAX_BATCH: Final = 200
"""As the store's writer takes at most, which is not imported before it is needed."""
MAX_BATCH_BYTES: Final = 1024 * 1024

_STARTED: Final = int(Stage.STARTED)
_JITTER: Final = random.Random()  # noqa: S311
"""Not the module's own generator: a user who seeded that one gets the numbers they expect."""
_LOG: Final = logging.getLogger("jobmon")


class Flusher:
    """Writes what waits within 100 ms of its arrival, keeping what the store does not take.

    Started at the first :meth:`wake`. Sends the beats of the process too, which are not kept:
    the next ones tell the same. Does nothing with the buffer's lock held but take and settle,
    and holds :attr:`gate` whenever it may be inside a library with locks of its own.
    """

    def __init__(self, buffer: Buffer, settings: Settings, pulse: Pulse) -> None:
        self.gate = threading.Lock()
        """Held while importing or talking to Redis: a fork in between waits a moment for it."""
        self.written = 0
        self.beats = 0
        """Calls that carried beats and were answered."""
        self.refused: Counter[str] = Counter()
        """What the store's writer counted as dropped itself, by reason."""
        self.failures = 0
        """Calls that failed, since the process began."""
        self.last_error = ""
        self._buffer = buffer
        self._pulse = pulse
        pulse.interval_seconds = settings.beats.interval_seconds
        self._settings = settings
        self._client: redis.Redis | None = None
        self._writer: Writer | None = None
        self._beats: Beats | None = None
        self._unavailable: tuple[type[Exception], ...] = (OSError,)
        self._bell: Bell | None = None
        self._waiters: list[tuple[int, Bell]] = []
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._failed_in_a_row = 0
        self._down_since = 0.0
        self._last_logged = float("-inf")
        self._outage_logged = False
        self._import_wait = IMPORT_WAIT_SECONDS
        self._first_backoff = max(_SHORTEST_BACKOFF_SECONDS, settings.redis.retry_interval / 1000)

    def prepare(self) -> None:
        """Import and open all that writing needs, here and now: before the first fork.

        Not where the thread is busy for long: then it has done so, or each child does it itself.
        """
        if self.hold():
            try:
                self._open()
            finally:
                self.gate.release()

    def wake(self) -> None:
        """Something waits."""
        if self._thread is None:
            self._start()
        if self._bell is not None:
            self._bell.ring()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all that waits now is written; True if it is."""
        buffer = self._buffer
        target = buffer.position()
        if buffer.settled(target) and not buffer.unreported():
            return True
        written = Bell()
        waiter = (target, written)
        deadline = time.monotonic() + timeout_seconds
        self._waiters.append(waiter)
        try:
            self.wake()
            if self._thread is None:  # no thread to be had
                while not buffer.settled(target) and time.monotonic() < deadline:
                    if not self._write_batch():
                        time.sleep(min(self._backoff(), max(0.0, deadline - time.monotonic())))
            else:
                written.wait(deadline - time.monotonic())
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)
        return buffer.settled(target)

    def stop(self, timeout_seconds: float) -> bool:
        """Flush, then end the thread; the next :meth:`wake` starts another."""
        deadline = time.monotonic() + timeout_seconds
        flushed = self.flush(timeout_seconds)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._stopping = True
            self.wake()
            thread.join(max(0.0, deadline - time.monotonic()))
        return flushed

    def hold(self) -> bool:
        """Keep the thread out of other libraries' locks, for a fork.

        A child that inherits the lock of a half-imported module, a resolver or TLS would hang
        on it. Bounded, because a fork must not wait for a slow Redis: then the thread sits in
        a system call, where it holds nothing. Only for the imports there is more time.

        Returns:
            Whether the gate is held; then it must be released after the fork.
        """
        deadline = time.monotonic() + self._import_wait
        while not self.gate.acquire(timeout=FORK_WAIT_SECONDS):
            if self._writer is not None:
                return False
            if time.monotonic() > deadline:
                self._import_wait = 0.0  # whatever keeps it, further forks are not kept as well
                return False
        return True

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                self._stopping = False
                self._bell = bell = Bell()
                thread = threading.Thread(
                    target=guarded(self._run), args=(bell,), name="jobmon-flusher", daemon=True
                )
                with suppress(RuntimeError):  # no more threads: flush() writes in its caller
                    thread.start()
                    self._thread = thread
        finally:
            self._starting.release()

    def _run(self, bell: Bell) -> None:
        try:
            while not self._stopping:
                try:
                    self._turn(bell)
                except BaseException as error:
                    if thrown_in(error):
                        raise
                    note("the flusher")
                    bell.wait(1.0)
            if not self._failed_in_a_row:
                self._beat(self._pulse.leave())
        finally:
            self._close()
            self._thread = None
            if self._buffer.waiting:  # came while it was ending
                self.wake()

    def _turn(self, bell: Bell) -> None:
        if not self._buffer.waiting and not self._waiters:
            if self._pulse.due():
                self._beat(self._pulse.collect())
                return
            bell.wait(self._pulse.seconds_left())
            if not self._buffer.waiting and not self._waiters:
                return
        self._linger(bell, time.monotonic() + LINGER_SECONDS)
        while not self._write_batch():
            self._tell()
            self._pause(bell, self._backoff())
            if self._stopping:
                return
        self._tell()
        if self._pulse.due():
            self._beat(self._pulse.collect())

    def _linger(self, bell: Bell, until: float) -> None:
        while (
            self._buffer.waiting < MAX_BATCH
            and not self._waiters
            and not self._stopping
            and (left := until - time.monotonic()) > 0
        ):
            bell.wait(left)

    def _pause(self, bell: Bell, seconds: float) -> None:
        if self._waiters:  # somebody is leaving: try sooner
            seconds = min(seconds, self._first_backoff)
        until = time.monotonic() + seconds
        waiters = len(self._waiters)
        while (left := until - time.monotonic()) > 0 and not self._stopping:
            bell.wait(left)
            if len(self._waiters) > waiters:
                return

    def _backoff(self) -> float:
        doubled = self._first_backoff * 2.0 ** min(max(self._failed_in_a_row - 1, 0), 16)
        return min(doubled, MAX_BACKOFF_SECONDS) * _JITTER.uniform(0.5, 1.0)

    def _write_batch(self) -> bool:
        """Write one batch; False when the store did not take it."""
        with self.gate, quiet():
            try:
                writer = self._open()
                if self._failed_in_a_row:
                    self._probe()
            except Exception as error:
                self._failed(error)
                return False
            batch = self._buffer.take(MAX_BATCH, MAX_BATCH_BYTES)
            dropped = self._buffer.unreported()
            if not batch and not dropped:
                return True
            try:
                self._write(writer, batch, dropped)
            except self._unavailable as error:
                self._failed(error)
                return False
        self._answered()
        return True

    def _write(self, writer: Writer, batch: Sequence[Item], dropped: dict[str, int]) -> None:
        try:
            applied = writer.apply(_without_overtaken(batch), dropped)
        except self._unavailable:
            raise
        except BaseException as error:  # the batch's fault, not the store's: it would fail for ever
            if thrown_in(error):
                raise
            note("writing a batch")
            self._buffer.settle(len(batch))
            self._buffer.count_dropped("error", len(batch))
            return
        self._buffer.settle(len(batch))
        self._buffer.reported(dropped)
        self.written += len(batch) - applied.malformed - applied.refused
        self.refused["malformed"] += applied.malformed
        self.refused["schema"] += applied.refused

    def _beat(self, beats: Sequence[Beat]) -> None:
        """Send the beats there are; what the store does not take is dropped."""
        if not beats:
            return
        with self.gate, quiet():
            try:
                self._open()
                if self._failed_in_a_row:
                    self._probe()
                assert self._beats is not None
                taken = self._beats.send(beats)
            except Exception as error:
                self._failed(error)
                return
        self.beats += 1
        self._answered()
        self._pulse.tell_missing(taken.missing)

    def _open(self) -> Writer:
        if self._writer is None:
            for name in _IMPORTED_BY_CONNECTING:
                import_module(name)
            import redis

            from jobmon.store.beats import Beats
            from jobmon.store.connection import connect
            from jobmon.store.writer import Writer

            self._unavailable = (redis.RedisError, OSError)
            self._client = connect(self._settings, timeout=self._settings.redis.record_timeout)
            self._beats = Beats(self._client, self._settings)
            self._writer = Writer(self._client, self._settings)
        return self._writer

    def _close(self) -> None:
        with self.gate:
            client, self._client = self._client, None
            self._writer = self._beats = None
            if client is not None:
                with suppress(*self._unavailable):
                    client.close()

    def _probe(self) -> None:
        """Raise unless the store answers at all.

        A stopped server queues what it is sent: it must not be one batch per attempt.
        """
        import redis

        assert self._client is not None
        with suppress(redis.ResponseError):  # a refusal is an answer
            cast("Any", self._client).ping()

    def _tell(self) -> None:
        for waiter in tuple(self._waiters):
            target, written = waiter
            if self._buffer.settled(target):
                with suppress(ValueError):
                    self._waiters.remove(waiter)
                written.ring()

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        if not self._failed_in_a_row:
            self._down_since = now
        self._failed_in_a_row += 1
        self.failures += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if now - self._last_logged >= LOG_EVERY_SECONDS:
            self._last_logged = now
            self._outage_logged = True
            _LOG.warning(
                "jobmon: the state store does not take what is recorded: %s"
                " (%d waiting, %d dropped so far; jobs are not affected)",
                self.last_error,
                len(self._buffer),
                self._buffer.dropped.total(),
            )

    def _answered(self) -> None:
        if not self._failed_in_a_row:
            return
        self._failed_in_a_row = 0
        if self._outage_logged:
            self._outage_logged = False
            _LOG.info(
                "jobmon: the state store takes what is recorded again, after %.1f s",
                time.monotonic() - self._down_since,
            )


def _without_overtaken(batch: Sequence[Item]) -> list[Item]:
    """Leave out the start of each execution whose end is here too: the end tells all of it."""
    ended = {
        (item.process_id, item.job_id, item.attempt, item.delivery)
        for item in batch
        if isinstance(item, Transition) and item.stages & _STARTED and is_final(item)
    }
    return [
        item
        for item in batch
        if not isinstance(item, Transition)
        or item.status != "processing"
        or (item.process_id, item.job_id, item.attempt, item.delivery) not in ended
    ]
