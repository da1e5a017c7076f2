"""The buffer: its bounds, its order, and what it drops first."""

from __future__ import annotations

import signal
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.instrument.buffer import OVERHEAD_BYTES, Buffer, size_of
from jobmon.instrument.wire import Item, is_final
from jobmon.model import RunTransition, Transition
from tests.instrument.samples import transition


def ids(items: list[Item]) -> list[int]:
    return [int(item.job_id[4:]) for item in items if isinstance(item, Transition)]


def everything(buffer: Buffer) -> list[Item]:
    items: list[Item] = []
    while batch := buffer.take(7, 1 << 20):
        items += batch
        buffer.settle(len(batch))
    return items


def test_items_leave_in_the_order_they_came() -> None:
    buffer = Buffer()
    statuses = ["pending", "completed", "processing", "failed", "retrying"]
    for number in range(100):
        assert buffer.add(transition(number, statuses[number % 5])) == number + 1
    assert ids(everything(buffer)) == list(range(100))
    assert len(buffer) == buffer.bytes == 0


def test_a_full_buffer_drops_the_oldest_non_final_first_and_counts_it() -> None:
    buffer = Buffer(max_items=10)
    for number in range(10):
        buffer.add(transition(number, "completed" if number % 2 else "processing"))
    for number in range(10, 14):
        buffer.add(transition(number, "failed"))
    assert buffer.dropped == {"overflow": 4}
    buffer.add(transition(14, "pending"))
    buffer.add(transition(15, "pending"))
    assert ids(everything(buffer)) == [1, 3, 5, 7, 9, 10, 11, 12, 13, 15]
    assert buffer.dropped == {"overflow": 6}


def test_with_final_ones_only_the_oldest_goes_and_a_newcomer_that_is_not_final_first() -> None:
    buffer = Buffer(max_items=3)
    for number in range(4):
        buffer.add(transition(number, "completed"))
    buffer.add(transition(4, "pending"))
    assert ids(everything(buffer)) == [1, 2, 3]
    assert buffer.dropped == {"overflow": 2}


def test_the_bound_in_bytes_counts_bodies_and_messages() -> None:
    assert size_of(transition(1, body=bytes(3000), message=bytes(1000))) == OVERHEAD_BYTES + 4000
    item = transition(1, body=bytes(4000))
    buffer = Buffer(max_bytes=10 * size_of(item))
    for _ in range(25):
        buffer.add(item)
    assert len(buffer) == 10
    assert buffer.bytes == 10 * size_of(item)
    assert buffer.dropped == {"overflow": 15}


def test_messages_have_half_of_the_room_and_cost_no_item_its_place() -> None:
    item = transition(1, "failed", message=bytes(4000))
    buffer = Buffer(max_bytes=10 * size_of(item))
    for _ in range(10):
        buffer.add(item)
    items = everything(buffer)
    assert [len(one.message) for one in items if isinstance(one, Transition)] == (
        [4000] * 5 + [0] * 5
    )
    assert buffer.dropped == {"message": 5}


def test_the_size_taken_for_an_item_is_what_it_occupies() -> None:
    import tracemalloc

    tracemalloc.start()
    buffer = Buffer()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1000):
        one = transition(number, body=bytes(500 + number), at_ms=1_764_000_000_000 + number)
        fresh = ("".join(list(v)) if isinstance(v, str) and len(v) > 12 else v for v in one)
        buffer.add(Transition(*fresh))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.6 * used < buffer.bytes < 1.6 * used


def test_what_is_being_written_is_held_counted_and_never_dropped() -> None:
    buffer = Buffer(max_items=10)
    for number in range(10):
        buffer.add(transition(number))
    assert ids(buffer.take(4, 1 << 20)) == [0, 1, 2, 3]
    for number in range(10, 30):
        buffer.add(transition(number))
    assert len(buffer) == 10
    assert ids(buffer.take(4, 1 << 20)) == [0, 1, 2, 3]
    buffer.settle(4)
    assert ids(everything(buffer)) == list(range(24, 30))
    assert buffer.dropped == {"overflow": 20}


def test_a_batch_keeps_to_its_bytes_but_holds_at_least_one() -> None:
    buffer = Buffer()
    for number in range(4):
        buffer.add(transition(number, body=bytes(1000)))
    size = size_of(transition(0, body=bytes(1000)))
    assert len(buffer.take(100, size - 1)) == 1
    buffer.settle(1)
    assert len(buffer.take(100, 2 * size)) == 2


def test_a_position_is_settled_once_all_before_it_has_left() -> None:
    buffer = Buffer(max_items=2)
    assert buffer.settled(buffer.position())
    buffer.add(transition(0, "completed"))
    position = buffer.position()
    buffer.add(transition(1))
    assert not buffer.settled(position)
    buffer.take(1, 1 << 20)
    assert not buffer.settled(position)
    buffer.settle(1)
    assert buffer.settled(position)
    assert not buffer.settled(buffer.position())
    for number in range(2, 9):
        buffer.add(transition(number))
    assert buffer.settled(position + 1)  # dropped is gone, too


def test_counts_are_reported_once_and_kept_when_more_come_meanwhile() -> None:
    buffer = Buffer()
    buffer.count_dropped("gap", 3)
    told = buffer.unreported()
    buffer.count_dropped("gap")
    buffer.count_dropped("handover")
    buffer.reported(told)
    assert buffer.unreported() == {"gap": 1, "handover": 1}
    assert buffer.dropped == {"gap": 4, "handover": 1}


def test_the_end_of_a_run_is_final_and_its_start_is_not() -> None:
    run = RunTransition("r", "c", "running", "", 0, 0, 0, b"{}")
    assert [is_final(run._replace(status=s)) for s in ("running", "completed", "failed")] == [
        False,
        True,
        True,
    ]
    assert size_of(run) == OVERHEAD_BYTES + 2


step = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(["pending", "processing", "failed", "completed"])),
    st.tuples(st.just("take"), st.integers(1, 6)),
    st.tuples(st.just("settle"), st.integers(0, 6)),
)


@given(st.lists(step, max_size=60), st.integers(1, 8))
def test_nothing_is_lost_uncounted_and_the_order_holds(
    steps: list[tuple[str, object]], limit: int
) -> None:
    buffer = Buffer(max_items=limit)
    added = 0
    taken = 0
    left: list[int] = []
    batch: list[Item] = []
    for name, value in steps:
        if name == "add":
            buffer.add(transition(added, str(value)))
            added += 1
        elif name == "take":
            batch = buffer.take(int(str(value)), 1 << 20)
            taken = len(batch)
        else:
            number = min(int(str(value)), taken)
            buffer.settle(number)
            left += ids(batch[:number])
            batch = batch[number:]
            taken -= number
        assert len(buffer) <= max(limit, taken)
        assert len(left) + len(buffer) + buffer.dropped.total() == added
    left += ids(everything(buffer))
    assert left == sorted(left)
    assert buffer.bytes == 0


@pytest.mark.clock
@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
def test_signal_handlers_that_record_while_recording_do_not_lock_up() -> None:
    buffer = Buffer(max_items=50)
    calls: Counter[str] = Counter()

    def handler(*_: object) -> None:
        calls["nested"] += 1
        buffer.add(transition(1, "completed"))
        buffer.add(transition(2))

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0002)
    try:
        while calls["nested"] < 300:
            buffer.add(transition(3))
            calls["outer"] += 1
            if calls["outer"] % 7 == 0:
                buffer.settle(len(buffer.take(3, 1 << 20)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    everything(buffer)
    assert (len(buffer), buffer.bytes) == (0, 0)
