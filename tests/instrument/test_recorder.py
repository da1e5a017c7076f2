"""The recorder in each kind of process, on a real store."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from jobmon.instrument import flusher
from jobmon.instrument.recorder import Recorder, Role
from jobmon.settings import load
from jobmon.store import writer
from tests.conftest import RedisServer
from tests.instrument.samples import transition
from tests.instrument.script import Script, until

RUN = transition().process_id


@pytest.fixture
def script(store: RedisServer) -> Iterator[Callable[..., Script]]:
    started: list[Script] = []

    def start(text: str, url: str = store.url, **variables: str) -> Script:
        started.append(Script(text, url, **variables))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def recorder(store: RedisServer) -> Iterator[Recorder]:
    recorder = Recorder(load({"redis.url": store.url}))
    yield recorder
    recorder.close()


def jobs(store: RedisServer) -> dict[str, str]:
    """Status by job id, of the samples' run."""
    with store.client() as client:
        found = client.hgetall(f"jobmon:command:{RUN}:jobs")
    assert isinstance(found, dict)
    return {
        key.decode(): value.split(b'"status":"')[1].split(b'"')[0].decode()
        for key, value in found.items()
    }


def dropped(store: RedisServer) -> dict[str, int]:
    """What the store was told of losses."""
    with store.client() as client:
        totals = client.hgetall("jobmon:totals:recorder")
    assert isinstance(totals, dict)
    return {
        key.decode().removeprefix("dropped:"): int(value)
        for key, value in totals.items()
        if key.startswith(b"dropped:")
    }


def test_the_batch_is_as_large_as_the_store_takes() -> None:
    assert (flusher.MAX_BATCH, flusher.MAX_BATCH_BYTES) == (
        writer.MAX_BATCH,
        writer.MAX_BATCH_BYTES,
    )


def test_what_is_recorded_is_in_the_store_within_100_ms_without_being_asked(
    recorder: Recorder, store: RedisServer
) -> None:
    recorder.record(transition(0))
    until(lambda: jobs(store))  # imports and connects
    fastest = 1.0
    for number in range(1, 21):
        before = time.monotonic()
        recorder.record(transition(number))
        until(lambda number=number: f"job-{number}" in jobs(store))
        fastest = min(fastest, time.monotonic() - before)
    assert fastest <= 0.1
    assert recorder.stats().written == 21


def test_flush_says_whether_all_is_written(recorder: Recorder, store: RedisServer) -> None:
    assert recorder.flush(0) is True
    for number in range(1000):
        recorder.record(transition(number))
    assert recorder.flush(10) is True
    assert len(jobs(store)) == 1000
    stats = recorder.stats()
    assert (stats.role, len(recorder.buffer), stats.written) == (Role.WRITER, 0, 1000)
    assert dict(stats.dropped) == {}


def test_recording_goes_on_after_a_shutdown(recorder: Recorder, store: RedisServer) -> None:
    for number in range(3):
        recorder.record(transition(number))
        recorder.shutdown()
        assert len(jobs(store)) == number + 1


def test_what_is_too_large_for_a_call_loses_its_message_or_is_dropped_and_counted(
    recorder: Recorder, store: RedisServer
) -> None:
    huge = bytes(2_000_000)
    recorder.record(transition(1, "failed", outcome="failed", stages=7, message=huge))
    recorder.record(transition(2, "failed", body=huge))
    assert recorder.flush(5)
    assert set(jobs(store)) == {"job-1"}
    assert recorder.stats().dropped == {"message": 1, "too_large": 1}
    assert dropped(store) == {"message": 1, "too_large": 1}


def test_a_malformed_transition_costs_only_itself(recorder: Recorder, store: RedisServer) -> None:
    for number in range(10):
        recorder.record(transition(number, attempt=-5 if number == 4 else 1))
    assert recorder.flush(5)
    assert len(jobs(store)) == 9
    assert recorder.stats().dropped == {"malformed": 1}


def test_what_is_recorded_before_the_configuration_is_written_after_it(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        """
other = recorder.Recorder(None)
recorder._recorder = other
recorder.record(transition(1))
recorder.configure(load())
recorder.configure(None)
"""
    )
    assert program.end()[:2] == (0, "")
    assert set(jobs(store)) == {"job-1"}


# The end of a process


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('of the host')", 1),
        ("threading.Timer(0.2, lambda: recorder.record(transition(2))).start()", 0),
        (
            "import concurrent.futures as f; pool = f.ThreadPoolExecutor(); "
            "pool.submit(recorder.record, transition(2))",
            0,
        ),
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); os.kill(os.getpid(), 15)",
            4,
        ),
        ("import atexit; atexit.register(recorder.record, transition(2))", 0),
    ],
    ids=["end", "exit", "error", "thread", "pool", "sigterm", "atexit"],
)
def test_a_process_that_ends_writes_what_waits(
    ending: str, code: int, script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(f"recorder.record(transition(1))\n{ending}")
    ended, stderr, seconds = program.end()
    assert ended == code
    assert "jobmon" not in stderr.replace("/jobmon", "")
    assert seconds < 3
    assert set(jobs(store)) == ({"job-1", "job-2"} if "(2)" in ending else {"job-1"})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_writes_what_waits(
    method: str, script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        f"""
import multiprocessing
from tests.instrument import producer
context = multiprocessing.get_context({method!r})
process = context.Process(target=producer.publish, args=(2,))
recorder.record(transition(1))
process.start()
process.join()
"""
    )
    assert program.end()[:2] == (0, "")
    assert set(jobs(store)) == {"job-1", "job-2"}


def test_without_threads_to_be_had_flush_writes_in_its_caller(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        """
import resource
threading.stack_size(1 << 34)
resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
recorder.record(transition(1))
say([threading.active_count(), recorder.flush(5)])
"""
    )
    assert program.said() == [1, True]
    assert program.end()[:2] == (0, "")
    assert set(jobs(store)) == {"job-1"}


# Main processes and their children

_MAIN = """
recorder.open_handover()
def child(work):
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        import traceback; traceback.print_exc()
        os._exit(1)
    os._exit(0)
def reap(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_what_a_child_records_arrives_though_it_is_killed_in_the_next_instant(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
def job():
    assert recorder.stats().role == "child" and threading.active_count() == 1
    recorder.record(transition(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)
pids = [child(job) for _ in range(100)]
say([pids, [reap(pid) for pid in pids]])
"""
    )
    pids, codes = program.said()
    assert codes == [-signal.SIGKILL] * 100
    assert program.end()[:2] == (0, "")
    assert jobs(store) == {f"job-{pid}": "processing" for pid in pids}


def test_a_child_whose_main_process_was_killed_writes_itself(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
def job():
    recorder.record(transition(1))
    say(os.getpid())
    wait()
    for number in range(2, 12):
        recorder.record(transition(number))
    flushed = recorder.flush(5)
    stats = recorder.stats()
    say([flushed, stats.role, stats.written])
    if os.fork() == 0:
        recorder.record(transition(99))
        say([recorder.flush(1), recorder.stats().role])
        os._exit(0)
    os.wait()
    say("end")
child(job)
while recorder.stats().received < 1:
    time.sleep(0.001)
recorder.flush(5)
say("flushed")
time.sleep(100)
"""
    )
    first = [program.said(), program.said()]
    assert "flushed" in first
    program.process.kill()
    program.process.wait(10)
    program.go()
    assert program.said() == [True, "orphan", 10]
    assert program.said() == [True, "mute"]
    assert program.said() == "end"
    assert set(jobs(store)) == {f"job-{number}" for number in range(1, 12)}


def test_a_main_process_hears_what_its_children_say_before_it_goes_on(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN.replace("open_handover()", "open_handover(lambda item: heard.append(item.job_id))")
        + """
def job():
    recorder.record(transition(number))
heard = []
for number in range(50):
    reap(child(job))
    assert recorder.catch_up(5)
    assert heard[-1] == f"job-{number}"
recorder.flush(5)
say(len(heard))
""",
    )
    assert program.said() == 50
    assert len(jobs(store)) == 50


def test_all_threads_of_an_orphaned_child_go_on_writing(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
def job():
    say(os.getpid())
    wait()
    def publish(first):
        for number in range(first, first + 50):
            recorder.record(transition(number))
    threads = [threading.Thread(target=publish, args=(n * 50,)) for n in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    say(recorder.flush(5))
child(job)
time.sleep(100)
"""
    )
    program.said()
    program.process.kill()
    program.process.wait(10)
    program.go()
    assert program.said() is True
    assert set(jobs(store)) == {f"job-{number}" for number in range(400)}


def test_a_child_without_its_descriptor_writes_itself_and_harms_nobody(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
os.close(recorder._recorder.handover._write_end.fileno())
def job():
    recorder.record(transition(1))
    assert recorder.flush(5)
say(reap(child(job)))
"""
    )
    assert program.said() == 0
    assert program.end()[:2] == (0, "")
    assert set(jobs(store)) == {"job-1"}


def test_what_a_job_forks_itself_records_nothing(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
import multiprocessing
def deeper():
    assert recorder.stats().role == "mute"
    recorder.record(transition(66))
    assert recorder.flush(1)
def grandchild():
    deeper()
    assert reap(child(deeper)) == 0
def job():
    recorder.record(transition(1))
    assert reap(child(grandchild)) == 0
    process = multiprocessing.get_context("fork").Process(target=deeper)
    process.start()
    process.join()
    assert process.exitcode == 0
    recorder.record(transition(1, "completed", outcome="completed", stages=4))
assert reap(child(job)) == 0
"""
    )
    assert program.end()[:2] == (0, "")
    assert jobs(store) == {"job-1": "completed"}


def test_a_child_sends_nothing_twice_that_the_main_process_holds(
    script: Callable[..., Script],
) -> None:
    program = script(
        """
recorder.record(transition(1))
before = len(recorder.own().buffer)
if os.fork() == 0:
    own = recorder.own()
    say([before, own.role, len(own.buffer)])
    os._exit(0)
os.wait()
"""
        + _MAIN
        + """
recorder.record(transition(2))
def job():
    own = recorder.own()
    say([own.role, len(own.buffer)])
assert reap(child(job)) == 0
say(recorder.stats().role)
"""
    )
    assert program.said() == [1, "writer", 0]
    assert program.said() == ["child", 0]
    assert program.said() == "main"


def test_a_spawned_child_hands_over_by_the_descriptors_number(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + '''
text = """
from jobmon.instrument import recorder
from jobmon.settings import load
from tests.instrument.samples import transition
import os, threading
recorder.configure(load())
recorder.record(transition(1))
assert recorder.stats().role == "child" and threading.active_count() == 1
if os.fork() == 0:
    os._exit(recorder.stats().role != "mute")
assert os.wait()[1] == 0
os._exit(7)
"""
with recorder.spawning():
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", text], os.environ, setpgroup=0)
say([reap(pid), "JOBMON_HANDOVER_FD" in os.environ])
recorder.flush(5)
say(recorder.stats().received)
'''
    )
    assert program.said() == [7, False]
    assert program.said() == 1
    assert set(jobs(store)) == {"job-1"}


def test_what_children_dropped_reaches_the_store_with_the_next_message(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        _MAIN
        + """
def job():
    os.kill(os.getppid(), signal.SIGSTOP)
    for number in range(20_000):
        recorder.record(transition(number))
    stats, sent = recorder.stats(), recorder.own().sender.sent
    os.kill(os.getppid(), signal.SIGCONT)
    assert recorder.flush(5)
    recorder.record(transition(99_999))
    say([sent, stats.waiting, stats.dropped])
reap(child(job))
recorder.flush(20)
say(dict(recorder.stats().dropped))
"""
    )
    sent, waiting, lost = program.said()
    assert waiting == 256
    assert sent + waiting + lost["handover"] == 20_000
    assert program.said() == lost
    assert program.end()[:2] == (0, "")
    assert len(jobs(store)) == sent + waiting + 1
    assert dropped(store) == lost


# Guests in our thread, and we in theirs


@pytest.mark.clock
def test_exceptions_of_the_hosts_signal_handlers_pass_and_break_nothing(
    script: Callable[..., Script], store: RedisServer
) -> None:
    program = script(
        """
class TimeLimitError(Exception):
    pass
from jobmon.instrument.guard import let_through
let_through(TimeLimitError)
def limit(*_):
    raise TimeLimitError
signal.signal(signal.SIGALRM, limit)
passed = 0
while passed < 200:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0004)
        while True:
            recorder.record(transition(1))
    except TimeLimitError:
        passed += 1
signal.setitimer(signal.ITIMER_REAL, 0)
recorder.record(transition(2, "completed", outcome="completed", stages=4))
say([recorder.flush(20), len(recorder.own().buffer)])
"""
    )
    assert program.said() == [True, 0]
    assert jobs(store)["job-2"] == "completed"


def test_our_own_calls_are_no_traces_of_an_instrumented_client(
    script: Callable[..., Script],
) -> None:
    program = script(
        """
import redis
from opentelemetry import context
seen = []
original = redis.Redis.execute_command
def instrumented(self, *arguments, **options):
    keys = ("suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY)
    seen.append(all(context.get_value(key) for key in keys))
    return original(self, *arguments, **options)
redis.Redis.execute_command = instrumented
recorder.open_handover()
recorder.record(transition(1))
recorder.flush(5)
recorder.shutdown()
recorder.record(transition(2))
recorder.flush(5)
say([bool(seen), all(seen), context.get_value("suppress_instrumentation")])
"""
    )
    assert program.said() == [True, True, None]


def test_the_hooks_of_a_process_import_neither_redis_nor_what_servers_need(
    script: Callable[..., Script],
) -> None:
    program = script(
        """
heavy = ["redis", "celery", "rq", "scipy", "sqlalchemy", "starlette", "uvicorn",
         "prometheus_client", "pydantic", "opentelemetry"]
say([name for name in heavy if name in sys.modules])
recorder.open_handover()
del sys.modules["redis"]
say([name for name in heavy if name in sys.modules and name != "opentelemetry"])
before = set(sys.modules)
import redis
recorder.record(transition(1))
recorder.flush(5)
say(sorted(name for name in set(sys.modules) - before if not name.startswith("redis")))
"""
    )
    assert program.said() == []
    assert program.said() == []
    assert program.said() == []  # nothing is left to be imported beside a fork


def test_a_recorder_that_is_closed_gives_back_every_descriptor(store: RedisServer) -> None:
    recorder = Recorder(load({"redis.url": store.url}))
    recorder.record(transition(1))
    recorder.flush(5)
    recorder.close()
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    before = os.listdir("/proc/self/fd")
    recorder = Recorder(load({"redis.url": store.url}))
    recorder.open_handover()
    recorder.record(transition(1))
    assert recorder.flush(5)
    recorder.close()
    assert sorted(os.listdir("/proc/self/fd")) == sorted(before)
