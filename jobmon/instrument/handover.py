"""How children hand their transitions to the main process that forked them.

A child ends in ``os._exit`` or SIGKILL, where nothing of ours runs any more, so it must own
nothing that is still to be written. Each transition is one datagram on a socket pair that the
main process opened before the fork: what a child has sent survives the child.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

from jobmon.instrument.bell import Bell
from jobmon.instrument.guard import guarded, note
from jobmon.instrument.wire import Item, decode, encode, encode_barrier, is_final, without_message

MAX_MESSAGE_BYTES: Final = 1024 * 1024
MAX_WAITING: Final = 256
FINAL_WAIT_SECONDS: Final = 0.02
GATHER_SECONDS: Final = 0.01
"""How long messages gather in the socket before they are read together. To be woken for each
costs the main process and the child more than all else that is done with a message; and it
holds what all children of a worker send in this time several times over."""
ENVIRONMENT_NAME: Final = "JOBMON_HANDOVER_FD"

_SEND_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Asked for; the kernel caps it silently (Linux: net.core.wmem_max)."""
_KNOWN_CHILDREN: Final = 4096
_FULL: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})
# macOS has no SOCK_SEQPACKET for AF_UNIX; a datagram is as atomic there.
_KIND: Final = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET
_DONT_WAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)
_FLAGS: Final = _DONT_WAIT | getattr(socket, "MSG_NOSIGNAL", 0)


class MainProcessGoneError(Exception):
    """Nobody reads the other end any more."""


class Sender:
    """The child's end. Never blocks, except up to 20 ms for a final transition.

    What the socket does not take waits here, at most 256 items, and goes first next time.
    """

    def __init__(self, end: socket.socket) -> None:
        self.lock = threading.RLock()
        self.sent = 0
        self.dropped: Counter[str] = Counter()
        self._end = end
        self._inode = os.fstat(end.fileno()).st_ino
        self._pid = os.getpid()
        self._unreported: dict[str, int] = {}
        self._waiting: deque[Item] = deque()

    @property
    def waiting(self) -> int:
        """How many items the socket did not take yet."""
        return len(self._waiting)

    def send(self, item: Item) -> None:
        """Hand one item over, or keep it for the next call.

        Raises:
            MainProcessGoneError: It must be written by this process; :meth:`take_back` has it.
        """
        with self.lock:
            self._waiting.append(item)
            emptied = self._empty()
        if not emptied and is_final(item):
            self._wait_until_empty(FINAL_WAIT_SECONDS)
        if len(self._waiting) > MAX_WAITING:
            self._drop_one()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing waits in this process.

        Raises:
            MainProcessGoneError: As :meth:`send`.
        """
        with self.lock:
            emptied = self._empty()
        return emptied or self._wait_until_empty(timeout_seconds)

    def count_dropped(self, reason: str) -> None:
        """Count something lost here; the main process hears of it with the next item."""
        with self.lock:
            self.dropped[reason] += 1
            self._unreported = {**self._unreported, reason: self._unreported.get(reason, 0) + 1}

    def take_back(self) -> tuple[list[Item], dict[str, int]]:
        """Give up: return what was not sent, and the counts of what was dropped before."""
        with self.lock:
            items, counts = list(self._waiting), self._unreported
            self._waiting.clear()
            self._unreported = {}
            return items, counts

    def close(self) -> None:
        """Close this process's copy of the descriptor."""
        _close(self._end, self._inode)

    def _empty(self) -> bool:
        """Send what waits until the socket is full; True when nothing is left."""
        waiting = self._waiting
        while waiting:
            item = waiting[0]
            try:
                self._send_one(item)
            except OSError as error:
                if error.errno in _FULL:
                    return False
                if error.errno == errno.EMSGSIZE:
                    self._shrink(item)
                    continue
                if error.errno is None:  # raised by a signal handler of the host
                    raise
                raise MainProcessGoneError from error
            except (TypeError, ValueError):
                self._drop(item, "malformed")
                continue
            # A signal handler that recorded in between may have sent and removed it already.
            if waiting and waiting[0] is item:
                waiting.popleft()
        return True

    def _send_one(self, item: Item) -> None:
        unreported = self._unreported
        number = self.sent + 1
        message = encode(self._pid, number, unreported, item)
        # A descriptor closed behind our back may by now be somebody else's connection.
        if os.fstat(self._end.fileno()).st_ino != self._inode:
            raise OSError(errno.EBADF, "the hand-over socket was closed")
        if len(message) > MAX_MESSAGE_BYTES:
            raise OSError(errno.EMSGSIZE, "larger than a message may be")
        self._end.send(message, _FLAGS)
        self.sent = number
        if unreported and self._unreported is unreported:
            self._unreported = {}

    def _wait_until_empty(self, timeout_seconds: float) -> bool:
        # Outside the lock: other threads of this process do not wait as well.
        deadline = time.monotonic() + timeout_seconds
        poll = select.poll()
        poll.register(self._end, select.POLLOUT)
        while (left := deadline - time.monotonic()) > 0:
            poll.poll(left * 1000)
            with self.lock:
                if self._empty():
                    return True
            # Linux calls it writable from a quarter full on, macOS always.
            time.sleep(0.001)
        return not self._waiting

    def _shrink(self, item: Item) -> None:
        smaller = without_message(item)
        if smaller is item:
            self._drop(item, "too_large")
        elif self._waiting and self._waiting[0] is item:
            self._waiting[0] = smaller
            self.count_dropped("message")

    def _drop_one(self) -> None:
        with self.lock:
            waiting = self._waiting
            if len(waiting) > MAX_WAITING:
                oldest = next((item for item in waiting if not is_final(item)), waiting[0])
                self._drop(oldest, "handover")

    def _drop(self, item: Item, reason: str) -> None:
        for index, waiting in enumerate(self._waiting):
            if waiting is item:
                del self._waiting[index]
                break
        self.count_dropped(reason)


class Handover:
    """The main process's side: a socket pair, and a thread that empties it at once.

    A pair holds only some hundred messages for all children together, so reading never waits
    for Redis.

    Args:
        receive: Takes each transition; must not block.
        count: Takes (reason, number) of what children dropped or what went missing.
    """

    def __init__(
        self,
        receive: Callable[[Item], None],
        count: Callable[[str, int], None],
        *,
        kind: int = _KIND,
    ) -> None:
        self.received = 0
        self.pid = os.getpid()
        self._receive = receive
        self._count = count
        self._read_end, self._write_end = socket.socketpair(socket.AF_UNIX, kind)
        self._inodes = tuple(
            os.fstat(end.fileno()).st_ino for end in (self._read_end, self._write_end)
        )
        for end, option in (
            (self._write_end, socket.SO_SNDBUF),
            (self._read_end, socket.SO_RCVBUF),
        ):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, option, _SEND_BUFFER_BYTES)
        self._last_numbers: OrderedDict[int, int] = OrderedDict()
        self._barriers: dict[int, Bell] = {}
        self._closed = False
        self._hurry = Bell()
        self._reader = threading.Thread(
            target=guarded(self._read), name="jobmon-handover", daemon=True
        )

    def start(self) -> None:
        """Start reading."""
        self._reader.start()

    def in_child(self) -> Sender:
        """What a forked child keeps of this: the writing end."""
        # As long as a child holds a copy of the reading end, no child learns that main has died.
        _close(self._read_end, self._inodes[0])
        return Sender(self._write_end)

    def barrier(self, timeout_seconds: float) -> bool:
        """Wait until all that was sent before this call has been received."""
        if self._closed or not self._reader.is_alive():
            return False
        passed = Bell()
        key = id(passed)
        self._barriers[key] = passed
        deadline = time.monotonic() + timeout_seconds
        message = encode_barrier(self.pid, key)
        try:
            while True:
                try:
                    self._write_end.send(message, _FLAGS)
                    break
                except OSError as error:
                    if error.errno not in _FULL or time.monotonic() >= deadline:
                        return False
                    time.sleep(0.001)
            self._hurry.ring()
            return passed.wait(deadline - time.monotonic())
        finally:
            self._barriers.pop(key, None)

    @contextmanager
    def spawning(self) -> Generator[None]:
        """Let processes started inside inherit the writing end; :func:`inherited` finds it."""
        os.environ[ENVIRONMENT_NAME] = f"{self._write_end.fileno()}:{self._inodes[1]}"
        self._write_end.set_inheritable(True)
        try:
            yield
        finally:
            self._write_end.set_inheritable(False)
            os.environ.pop(ENVIRONMENT_NAME, None)

    def close(self) -> None:
        """Stop reading and close both ends."""
        self._closed = True
        with suppress(OSError):
            self._read_end.shutdown(socket.SHUT_RDWR)  # wakes the reader
        self._hurry.ring()
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(1.0)
        _close(self._read_end, self._inodes[0])
        _close(self._write_end, self._inodes[1])

    def _read(self) -> None:
        space = bytearray(MAX_MESSAGE_BYTES)
        view = memoryview(space)
        receive_waiting = _receiver_of_waiting(self._read_end, space)
        while not self._closed:
            try:
                size = self._read_end.recv_into(space)
            except OSError:
                return  # closed
            if not self._took(view[:size]):
                return
            came = True
            while came:
                self._hurry.wait(GATHER_SECONDS)
                came = False
                while (size := receive_waiting()) >= 0:
                    came = True
                    if not self._took(view[:size]):
                        return

    def _took(self, message: memoryview) -> bool:
        """Take a message; False at the end of all messages."""
        if not message:
            return not self._hung_up()
        try:
            self._take(message)
        except BaseException:
            note("reading what a child handed over")
        return True

    def _hung_up(self) -> bool:
        # An empty datagram reads like the end; only the latter stays.
        poll = select.poll()
        poll.register(self._read_end, 0)
        with suppress(OSError, ValueError):
            return any(event & ~select.POLLIN for _, event in poll.poll(0))
        return True

    def _take(self, message: memoryview) -> None:
        try:
            pid, number, dropped, item = decode(message)
        except (ValueError, TypeError, EOFError, KeyError):
            self._count("malformed", 1)
            return
        if item is None:
            barrier = self._barriers.get(number)
            if barrier is not None:
                barrier.ring()
            return
        if dropped:
            for reason, number_dropped in dropped.items():
                self._count(reason, number_dropped)
        missing = self._missing(pid, number)
        if missing:
            self._count("gap", missing)
        self.received += 1
        self._receive(item)

    def _missing(self, pid: int, number: int) -> int:
        """How many messages of this child were skipped before this one."""
        numbers = self._last_numbers
        last = numbers.get(pid, 0)
        numbers[pid] = number
        numbers.move_to_end(pid)
        if len(numbers) > _KNOWN_CHILDREN:
            numbers.popitem(last=False)
        # Not higher: a new process with an old pid, or one message sent twice.
        return number - last - 1 if number > last else 0


def _receiver_of_waiting(end: socket.socket, space: bytearray) -> Callable[[], int]:
    """What receives a message that is already there and returns its size, -1 if none is.

    ``socket.recv`` lets go of the GIL, and in a busy process gets it back a thread switch
    later: for each message the price of being woken. ``recv(2)`` by ``ctypes`` keeps it.
    """

    def by_socket() -> int:
        try:
            return end.recv_into(space, 0, _DONT_WAIT)
        except OSError:
            return -1

    try:
        import ctypes

        receive = ctypes.PyDLL(None).recv
        receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        receive.restype = ctypes.c_ssize_t
        start = (ctypes.c_char * len(space)).from_buffer(space)
    except (ImportError, OSError, AttributeError, TypeError):
        return by_socket
    size = len(space)
    return lambda: receive(end.fileno(), start, size, _DONT_WAIT)


def inherited() -> Sender | None:
    """The writing end that the process which spawned this one let it inherit, once."""
    value = os.environ.pop(ENVIRONMENT_NAME, "")
    number, _, inode = value.partition(":")
    if not (number.isdecimal() and inode.isdecimal()):
        return None
    descriptor = int(number)
    try:
        # The environment reaches further down than the descriptor: is it really ours?
        if os.fstat(descriptor).st_ino != int(inode):
            return None
        os.set_inheritable(descriptor, False)
        return Sender(socket.socket(fileno=descriptor))
    except OSError:
        return None


def _close(end: socket.socket, inode: int) -> None:
    """Close a socket unless its descriptor meanwhile belongs to something else."""
    with suppress(OSError, ValueError):
        if os.fstat(end.fileno()).st_ino == inode:
            end.close()
            return
    end.detach()
