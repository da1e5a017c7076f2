"""The hand-over socket under fork, recycle, SIGKILL, a stopped and a dead main process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from jobmon.instrument.handover import (
    ENVIRONMENT_NAME,
    FINAL_WAIT_SECONDS,
    MAX_WAITING,
    Handover,
    MainProcessGoneError,
    Sender,
    inherited,
)
from jobmon.instrument.wire import Item, decode, encode
from jobmon.model import RunTransition, Stage, Status, Transition
from tests.instrument.samples import transition

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Main:
    """What a worker's main process does with its hand-over socket."""

    def __init__(self, kind: int) -> None:
        self.items: list[Item] = []
        self.counts: Counter[str] = Counter()
        self.children: list[int] = []
        self.handover = Handover(self.items.append, self._count, kind=kind)
        self.handover.start()

    def _count(self, reason: str, number: int) -> None:
        self.counts[reason] += number

    def fork(self, work: Callable[[Sender], None]) -> int:
        """Fork a child that does its work and dies as workers' children do."""
        pid = os.fork()
        if pid:
            self.children.append(pid)
            return pid
        try:
            work(self.handover.in_child())
        except BaseException:
            os._exit(1)
        os._exit(0)

    def wait(self) -> list[int]:
        """Reap all children and read what they sent; gives their exit codes."""
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.children]
        self.children.clear()
        assert self.handover.barrier(5)
        return codes

    def ids(self) -> list[str]:
        return [item.job_id for item in self.items if isinstance(item, Transition)]


@pytest.fixture(params=["seqpacket", "dgram"])
def main(request: pytest.FixtureRequest) -> Iterator[Main]:
    kinds = {"seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}
    main = Main(kinds[request.param])
    yield main
    main.handover.close()


def test_what_a_child_sent_arrives_whole_and_in_order(main: Main) -> None:
    run = RunTransition("run-1", "data:process", "completed", "completed", 5, 7, 0, b"{}")

    def work(sender: Sender) -> None:
        for number in range(100):
            sender.send(transition(number))
        sender.send(run)

    main.fork(work)
    assert main.wait() == [0]
    assert main.items == [*(transition(number) for number in range(100)), run]
    assert type(main.items[0]) is Transition
    assert not main.counts


def test_an_interpreter_without_ctypes_reads_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    main = Main(socket.SOCK_SEQPACKET)
    try:
        main.fork(lambda sender: [sender.send(transition(number)) for number in range(100)])
        assert main.wait() == [0]
        assert main.ids() == [f"job-{number}" for number in range(100)]
    finally:
        main.handover.close()


def test_what_a_child_recorded_survives_a_sigkill_in_the_next_instant(main: Main) -> None:
    def work(sender: Sender) -> None:
        sender.send(transition(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(50):
        main.fork(work)
    expected = {f"job-{pid}" for pid in main.children}
    assert main.wait() == [-signal.SIGKILL] * 50
    assert set(main.ids()) == expected


def test_recycled_children_share_the_socket_without_gaps(main: Main) -> None:
    for generation in range(20):

        def work(sender: Sender, generation: int = generation) -> None:
            for number in range(10):
                sender.send(transition(generation * 10 + number))

        main.fork(work)
        main.fork(work)
        assert main.wait() == [0, 0]
    assert Counter(main.ids()) == Counter({f"job-{n}": 2 for n in range(200)})
    assert not main.counts


def test_members_of_enumerations_are_handed_over_as_their_values(main: Main) -> None:
    item = transition(1, Status.FAILED, stages=Stage.STARTED | Stage.ENDED)
    main.fork(lambda sender: sender.send(item))
    main.wait()
    [received] = main.items
    assert received == item
    assert [type(value) for value in (received.status, received[11])] == [str, int]


def test_a_transition_that_no_message_can_carry_is_dropped_and_counted(main: Main) -> None:
    def work(sender: Sender) -> None:
        sender.send(transition(1, body=object()))
        sender.send(transition(2))

    main.fork(work)
    assert main.wait() == [0]
    assert main.ids() == ["job-2"]
    assert main.counts == {"malformed": 1}


def test_too_large_a_message_loses_its_replayable_part_first(main: Main) -> None:
    huge = bytes(8 * 1024 * 1024)

    def work(sender: Sender) -> None:
        sender.send(transition(1, "failed", message=huge))
        sender.send(transition(2, "failed", body=huge))
        sender.send(transition(3))

    main.fork(work)
    assert main.wait() == [0]
    assert main.ids() == ["job-1", "job-3"]
    assert main.items[0] == transition(1, "failed")
    assert main.counts == {"message": 1, "too_large": 1}


def test_a_record_of_16_kib_passes_whatever_the_kernel_grants(main: Main) -> None:
    item = transition(1, "failed", body=os.urandom(16 * 1024), message=os.urandom(64 * 1024))
    main.fork(lambda sender: sender.send(item))
    main.wait()
    assert main.items == [item]


def test_missing_numbers_are_counted_per_child(main: Main) -> None:
    def work(sender: Sender) -> None:
        sender.send(transition(1))
        sender.sent += 3  # as if three messages had been lost on their way
        sender.send(transition(2))

    main.fork(work)
    main.fork(work)
    main.wait()
    assert main.counts == {"gap": 6}


def test_noise_on_the_socket_is_counted_and_skipped(main: Main) -> None:
    def work(sender: Sender) -> None:
        end = sender._end
        for noise in (
            b"x",
            b"J\x01",
            b"J\x02abc",
            b"J\x01(\x01\x00\x00\x00N",
            encode(1, 1, {}, transition())[:-3],
        ):
            end.send(noise)
        end.send(b"")
        sender.send(transition(1))

    main.fork(work)
    assert main.wait() == [0]
    assert main.ids() == ["job-1"]
    assert main.counts == {"malformed": 5}


def test_a_message_reads_back_as_it_was_written() -> None:
    message = encode(7, 3, {"handover": 2}, transition(9))
    assert decode(memoryview(message)) == (7, 3, {"handover": 2}, transition(9))


# A main process that is stopped or dead must be another process than the test's.

_MAIN = """
import json, os, subprocess, sys
from collections import Counter
from jobmon.instrument.handover import Handover

items, counts = [], Counter()
handover = Handover(items.append, lambda reason, number: counts.update({reason: number}))
handover.start()
with handover.spawning():
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], close_fds=False)
print("main", os.getpid(), flush=True)
child.wait()
handover.barrier(5)
print(json.dumps({"ids": [item.job_id for item in items], "counts": counts}), flush=True)
"""

_CHILD = """
import json, os, sys, time
from jobmon.instrument.handover import MainProcessGoneError, inherited
from tests.instrument.samples import transition

sender = inherited()
assert sender is not None

def timed(item):
    before = time.perf_counter()
    sender.send(item)
    return time.perf_counter() - before

def say(value):
    print(json.dumps(value), flush=True)

def wait():
    sys.stdin.readline()

say("ready")
wait()
"""


class Worker:
    """A main process of its own with one child, driven over the child's standard streams."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, _CHILD + script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = {self._line(), self._line()}
        lines.discard('"ready"')
        self.pid = int(lines.pop().split()[1])

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> object:
        return json.loads(self._line())

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def worker() -> Iterator[Callable[[str], Worker]]:
    started: list[Worker] = []

    def start(script: str) -> Worker:
        started.append(Worker(script))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_stopped_main_process_never_holds_a_hook_longer_than_20_ms(
    worker: Callable[[str], Worker],
) -> None:
    main = worker(
        """
open_times = [timed(transition(n)) for n in range(20_000)]
final_times = [timed(transition(100_000 + n, "completed")) for n in range(10)]
slow_open = sorted(open_times)[-20]
final_times.sort()
say([slow_open, final_times[0], final_times[5], sender.waiting, sender.sent, sender.dropped])
wait()
assert sender.flush(10)
timed(transition(200_000))
say([sender.sent, sender.waiting])
"""
    )
    main.stop()
    main.go()
    slow_open, fastest_final, middle_final, waiting, sent, dropped = main.said()  # type: ignore[misc]
    assert slow_open < FINAL_WAIT_SECONDS / 2
    assert fastest_final > FINAL_WAIT_SECONDS * 0.9
    assert middle_final < FINAL_WAIT_SECONDS * 2  # a shared machine's scheduler is in it
    assert waiting == MAX_WAITING
    assert sent + waiting + dropped["handover"] == 20_010
    assert 100 < sent < 10_000

    os.kill(main.pid, signal.SIGCONT)
    main.go()
    assert main.said() == [sent + MAX_WAITING + 1, 0]
    result: dict[str, object] = main.said()  # type: ignore[assignment]
    ids = [int(one.removeprefix("job-")) for one in result["ids"]]  # type: ignore[attr-defined]
    assert ids == sorted(ids)
    assert ids[:sent] == list(range(sent))
    assert ids[-11:] == [*range(100_000, 100_010), 200_000]
    assert result["counts"] == {"handover": dropped["handover"]}


def test_after_the_main_process_died_the_child_gets_back_what_it_could_not_send(
    worker: Callable[[str], Worker],
) -> None:
    main = worker(
        """
try:
    for n in range(1, 100):
        timed(transition(n))
except MainProcessGoneError:
    items, counts = sender.take_back()
    say([[item.job_id for item in items], counts])
try:
    sender.flush(1)
    sender.send(transition(1))
except MainProcessGoneError:
    say("still gone")
"""
    )
    os.kill(main.pid, signal.SIGKILL)
    os.waitpid(main.pid, 0)
    main.process.returncode = -9
    main.go()
    assert main.said() == [["job-1"], {}]
    assert main.said() == "still gone"


def test_a_spawned_process_inherits_the_socket_by_number(worker: Callable[[str], Worker]) -> None:
    main = worker(
        f"""
timed(transition(1))
import subprocess
assert {ENVIRONMENT_NAME!r} not in os.environ
assert not os.get_inheritable(sender._end.fileno())
"""
    )
    main.go()
    assert main.said() == {"ids": ["job-1"], "counts": {}}


@pytest.mark.parametrize("value", ["", "7", "x:y", "999999:1", "0:1", "-1:3"])
def test_a_stale_number_in_the_environment_is_not_taken_for_the_socket(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_NAME, value)
    assert inherited() is None
    assert ENVIRONMENT_NAME not in os.environ


def test_a_descriptor_that_became_somebody_elses_is_left_alone(main: Main) -> None:
    def work(sender: Sender) -> None:
        ours = sender._end.fileno()
        theirs, other = socket.socketpair()
        os.dup2(theirs.fileno(), ours)  # as closerange() and a new connection would
        with pytest.raises(MainProcessGoneError):
            sender.send(transition(1))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        sender.close()
        assert os.fstat(ours).st_ino == os.fstat(theirs.fileno()).st_ino

    main.fork(work)
    assert main.wait() == [0]
    assert main.items == []


def test_closing_ends_the_reader_and_gives_back_both_descriptors() -> None:
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    main = Main(socket.SOCK_DGRAM)
    main.handover.close()
    assert not main.handover._reader.is_alive()
    assert not main.handover.barrier(0.1)
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before


class ImpatientError(Exception):
    """What a host's signal handler raises."""


@pytest.mark.clock
def test_errors_of_the_host_pass_through_a_send_and_lose_nothing() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    right.settimeout(0)
    sender = Sender(left)

    def alarm(*_: object) -> None:
        raise ImpatientError

    def send_without_end() -> None:
        while True:
            sender.send(transition(1))
            if sender.waiting:
                received()

    def received() -> list[Item | None]:
        items: list[Item | None] = []
        while True:
            try:
                items.append(decode(memoryview(right.recv(100_000)))[3])
            except BlockingIOError:
                return items

    previous = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(ImpatientError):
            send_without_end()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    received()
    sender.send(transition(2))
    while sender.waiting:
        received()
        sender.flush(0)
    assert received()[-1] == transition(2)
    left.close()
    right.close()
