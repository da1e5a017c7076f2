"""Properties of the store on a real server: any order of arrival, the same end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.model import RunTransition, Status, Transition, order_key
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.writer import Writer
from tests.store.histories import (
    FUTURE_MS,
    RUNS,
    SOAK,
    Step,
    histories,
    many,
    play,
    run_transition,
    served,
    transition,
)
from tests.store.reference import HEAD, snapshot, values

P, S, L, RT, RV, F, C = (
    *(Status.PENDING, Status.PROCESSING, Status.LOST, Status.RETRYING, Status.REVOKED),
    *(Status.FAILED, Status.COMPLETED),
)
pytestmark = pytest.mark.timeout(1800 if SOAK > 1 else 180)

Life = list[tuple[Status, int, int]]
"""(status, attempt, delivery) in the order in which they happened."""
LIVES: dict[str, Life] = {
    "straight": [(P, 1, 0), (S, 1, 0), (C, 1, 0)],
    "failed": [(P, 1, 0), (S, 1, 0), (F, 1, 0)],
    "engine retry, next attempt published first": [
        *[(P, 1, 0), (S, 1, 0), (P, 2, 0), (RT, 1, 0)],
        *[(S, 2, 0), (P, 3, 0), (RT, 2, 0), (S, 3, 0), (C, 3, 0)],
    ],
    "replace": [(P, 1, 0), (S, 1, 0), (P, 2, 0), (C, 1, 0), (S, 2, 0), (C, 2, 0)],
    "repeat of an id": [(P, 1, 0), (S, 1, 0), (C, 1, 0), (P, 2, 0), (S, 2, 0), (F, 2, 0)],
    "redelivery": [(P, 1, 0), (S, 1, 0), (S, 1, 70), (C, 1, 70)],
    "redelivery of a finished attempt": [(P, 1, 0), (S, 1, 0), (C, 1, 0), (S, 1, 70), (F, 1, 70)],
    "lost and alive again": [(P, 1, 0), (S, 1, 0), (L, 1, 0), (RT, 1, 0), (P, 2, 0), (C, 2, 0)],
    "lost and redelivered": [(P, 1, 0), (S, 1, 0), (L, 1, 0), (S, 1, 70), (C, 1, 70)],
    "retry by a person": [(P, 1, 0), (S, 1, 0), (F, 1, 0), (P, 2, 0), (S, 2, 0), (C, 2, 0)],
    "revoked yet ran": [(P, 1, 0), (RV, 1, 0), (S, 1, 0), (C, 1, 0)],
}


def test_every_history_leaves_the_store_as_the_reference_says(client: Any) -> None:
    @many(250)
    @given(histories)
    def property_holds(history: list[Step]) -> None:
        play(client, history)

    property_holds()


def test_whatever_a_server_does_leaves_the_store_as_the_reference_says(client: Any) -> None:
    @many(150)
    @given(served)
    def property_holds(history: list[Step]) -> None:
        play(client, history)

    property_holds()


@many(200)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(Status)), st.integers(1, 4), st.sampled_from([0, 5, 9])),
        min_size=1,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_is_total(keys: list[tuple[Status, int, int]], random: Any) -> None:
    def survivor(some: list[tuple[Status, int, int]]) -> tuple[int, bool, int, int]:
        record = order_key(*some[0])
        for one in some:
            record = max(record, order_key(*one))
        return record

    shuffled = keys.copy()
    random.shuffle(shuffled)
    assert survivor(keys) == survivor(shuffled) == max(order_key(*one) for one in keys)


def final_state(client: Any, batches: list[list[Any]]) -> dict[str, object]:
    """What must not depend on the order of arrival: records, earlier attempts, run counters."""
    client.flushdb()
    options = Settings()
    writer = Writer(client, options)
    for batch in batches:
        writer.apply(batch)
    state: dict[str, object] = {}
    keys = Keys(options.redis.prefix)
    own = keys.of("p1")
    found = snapshot(client)
    for name in (own.jobs, own.attempts):
        for field, raw in found.get(name, ({}, 0))[0].items():
            head = HEAD.match(raw)
            assert head is not None
            # Stages and numbers of series follow from who came first.
            numbers = () if name == own.attempts else head.groups()[3:6]
            state[f"{name} {field}"] = (head[1], head[2], numbers, raw[head.end() :])
    fields = found[own.metrics(RUNS["p1"])][0]
    for field in (
        *(b"job_count", b"success_jobs", b"failed_jobs", b"revoked_jobs", b"lost_jobs"),
        *(b"retried_jobs", b"total_job_time", b"peak_memory", b"partial", b"status", b"run"),
    ):
        state[field.decode()] = fields.get(field)
    for member, score in found.get(keys.failed, ([], 0))[0]:
        state[f"failed {member}"] = score
    for labels, series in found[keys.job_series][0].items():
        for name in (keys.pending(series.decode()), keys.processing(series.decode())):
            for member, score in found.get(name, ([], 0))[0]:
                state[f"{name.partition(series.decode())[0]} {labels} {member}"] = score
    return state


def split(items: list[Any], random: Any) -> list[list[Any]]:
    cuts = sorted(random.randrange(len(items) + 1) for _ in range(random.randrange(5)))
    return [items[a:b] for a, b in pairwise([0, *cuts, len(items)]) if a < b]


def test_any_order_of_arrival_ends_in_the_same_records(client: Any) -> None:
    lives = st.lists(st.sampled_from(sorted(LIVES)), min_size=1, max_size=4)

    @many(120)
    @given(lives, st.randoms(use_true_random=False), st.booleans())
    def property_holds(names: list[str], random: Any, backwards: bool) -> None:
        items: list[Any] = [run_transition("p1", "running"), run_transition("p1", "completed")]
        for at, name in enumerate(names):
            items += [transition("p1", f"job{at}", *moment) for moment in LIVES[name]]
        shuffled = items + random.choices(items, k=5)
        if backwards:
            shuffled.reverse()
        else:
            random.shuffle(shuffled)
        expected = final_state(client, [items])
        assert final_state(client, split(shuffled, random)) == expected

    property_holds()


@pytest.mark.parametrize("name", LIVES)
def test_each_life_ends_as_it_happened(name: str, client: Any) -> None:
    life = LIVES[name]
    state = final_state(client, [[transition("p1", "job", *moment)] for moment in life])
    record: Any = next(value for key, value in state.items() if ":jobs " in key)
    last = {"redelivery of a finished attempt": (C, 1)}.get(name, life[-1][:2])
    assert (record[0].decode(), int(record[1])) == last


def test_a_batch_sent_again_changes_nothing(client: Any) -> None:
    @many(100)
    @given(histories)
    def property_holds(history: list[Step]) -> None:
        client.flushdb()
        writer = Writer(client, Settings())
        for step in history:
            if isinstance(step, str) or _contradicts_itself(step):
                continue
            writer.apply(step)
            # A run that was lost, then ended otherwise, cannot be lost again.
            before = {k: v for k, v in values(client).items() if not _always_written(k)}
            again = writer.apply(step)
            after = {k: v for k, v in values(client).items() if not _always_written(k)}
            assert (again.applied, again.late) == (0, 0), again
            assert after == before

    property_holds()


def _contradicts_itself(batch: list[Any]) -> bool:
    """Whether a run says in it that it lives, and is lost by evidence from the future."""
    runs = [item for item in batch if isinstance(item, RunTransition)]
    return any(item.beats and item.duration_us for item in runs) and any(
        item.status == "lost" and item.at_ms == FUTURE_MS for item in runs
    )


def _always_written(key: str) -> bool:
    return key.endswith(("store:meta", "totals:recorder", "labels:queue"))


def test_totals_never_fall(client: Any) -> None:
    keys = Keys(Settings().redis.prefix)

    @many(60)
    @given(histories)
    def property_holds(history: list[Step]) -> None:
        client.flushdb()
        writer = Writer(client, Settings())
        before: dict[bytes, int] = {}
        for step in history:
            if isinstance(step, str):
                continue
            writer.apply(step)
            now = {
                field: int(value)
                for name in (keys.job_totals, keys.command_totals)
                for field, value in client.hgetall(name).items()
                if b":last_" not in field
            }
            assert all(now[field] >= count for field, count in before.items())
            before = now

    property_holds()


@pytest.mark.soak
def test_a_batch_of_every_size_gives_the_same_store(client: Any) -> None:
    jobs: list[Transition] = [
        transition("p1", f"{name} {at}", *moment)
        for at in range(2 * SOAK)
        for name, life in LIVES.items()
        for moment in life
    ]
    expected = final_state(client, [[one] for one in jobs])
    for size in (7, 200, 1000):
        parts = [jobs[at : at + size] for at in range(0, len(jobs), size)]
        assert final_state(client, parts) == expected
