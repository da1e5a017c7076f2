"""Every edge from one status of a job to another, with the run counters that it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.writer import Writer
from tests.store.histories import RUNS, transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer

COLUMNS = ("pending", "processing", "lost", "retrying", "revoked", "failed", "completed")
NONE = "none"
STANDS = "·"

SAME_DELIVERY = """
none       | j+1 | j+1 | j+1 f+1 l+1 | j+1 | j+1 r+1     | j+1 f+1     | j+1 s+1
pending    | ·   | 0   | f+1 l+1     | 0   | r+1         | f+1         | s+1
processing | ·   | ·   | f+1 l+1     | 0   | r+1         | f+1         | s+1
lost       | ·   | ·   | ·           | f-1 l-1 | f-1 l-1 r+1 | l-1     | s+1 f-1 l-1
retrying   | ·   | ·   | ·           | ·   | r+1         | f+1         | s+1
revoked    | ·   | ·   | ·           | ·   | ·           | f+1 r-1     | s+1 r-1
failed     | ·   | ·   | ·           | ·   | ·           | ·           | s+1 f-1
completed  | ·   | ·   | ·           | ·   | ·           | ·           | ·
"""
HIGHER_DELIVERY = """
pending    | 0       | 0       | f+1 l+1 | 0       | r+1         | f+1     | s+1
processing | 0       | 0       | f+1 l+1 | 0       | r+1         | f+1     | s+1
lost       | f-1 l-1 | f-1 l-1 | 0       | f-1 l-1 | f-1 l-1 r+1 | l-1     | s+1 f-1 l-1
retrying   | 0       | 0       | f+1 l+1 | 0       | r+1         | f+1     | s+1
revoked    | ·       | ·       | ·       | ·       | ·           | f+1 r-1 | s+1 r-1
failed     | ·       | ·       | ·       | ·       | ·           | ·       | s+1 f-1
completed  | ·       | ·       | ·       | ·       | ·           | ·       | ·
"""
HIGHER_ATTEMPT = """
pending    | t+1         | t+1         | t+1 f+1 l+1     | t+1         | t+1 r+1         | t+1 f+1     | t+1 s+1
processing | t+1         | t+1         | t+1 f+1 l+1     | t+1         | t+1 r+1         | t+1 f+1     | t+1 s+1
lost       | t+1 f-1 l-1 | t+1 f-1 l-1 | t+1             | t+1 f-1 l-1 | t+1 f-1 l-1 r+1 | t+1 l-1     | t+1 s+1 f-1 l-1
retrying   | t+1         | t+1         | t+1 f+1 l+1     | t+1         | t+1 r+1         | t+1 f+1     | t+1 s+1
revoked    | t+1 r-1     | t+1 r-1     | t+1 r-1 f+1 l+1 | t+1 r-1     | t+1             | t+1 r-1 f+1 | t+1 r-1 s+1
failed     | t+1 f-1     | t+1 f-1     | t+1 l+1         | t+1 f-1     | t+1 f-1 r+1     | t+1         | t+1 f-1 s+1
completed  | t+1 s-1     | t+1 s-1     | t+1 s-1 f+1 l+1 | t+1 s-1     | t+1 s-1 r+1     | t+1 s-1 f+1 | t+1
"""  # noqa: E501
LOWER_ATTEMPT = "\n".join(f"{status} {'| · ' * 7}" for status in COLUMNS)
FIELDS = {
    "j": b"job_count",
    "s": b"success_jobs",
    "f": b"failed_jobs",
    "l": b"lost_jobs",
    "r": b"revoked_jobs",
    "t": b"retried_jobs",
}


def edges() -> list[object]:
    tables = {
        "same delivery": (SAME_DELIVERY, (1, 5), (1, 5)),
        "higher delivery": (HIGHER_DELIVERY, (1, 5), (1, 9)),
        "higher attempt": (HIGHER_ATTEMPT, (1, 9), (2, 0)),
        "lower attempt": (LOWER_ATTEMPT, (2, 0), (1, 9)),
    }
    found: list[object] = []
    for name, (table, old_at, new_at) in tables.items():
        for line in table.strip().splitlines():
            old, *cells = (cell.strip() for cell in line.split("|"))
            for new, cell in zip(COLUMNS, cells, strict=True):
                label = f"{name}: {old} to {new}"
                found.append(pytest.param(old, old_at, new, new_at, cell, id=label))
    return found


@pytest.mark.parametrize(("old", "old_at", "new", "new_at", "moves"), edges())
def test_an_edge_moves_its_counters(
    old: str,
    old_at: tuple[int, int],
    new: str,
    new_at: tuple[int, int],
    moves: str,
    store: RedisServer,
) -> None:
    keys = Keys("jobmon:")
    metrics = keys.of("p1").metrics(RUNS["p1"])
    first = None if old == NONE else transition("p1", "job", Status(old), *old_at)
    second = transition("p1", "job", Status(new), *new_at)
    with store.client() as client:
        writer = Writer(client, Settings())
        if first is not None:
            writer.apply([first])
        before = client.hmget(metrics, list(FIELDS.values()))
        record = client.hget(keys.of("p1").jobs, "job")
        applied = writer.apply([second])
        after = client.hmget(metrics, list(FIELDS.values()))
        new_record = client.hget(keys.of("p1").jobs, "job")
    stands = moves == STANDS
    assert applied.applied == (0 if stands else 1)
    deltas = {move[0]: int(move[1:]) for move in moves.split() if move not in (STANDS, "0")}
    for letter, was, now in zip(FIELDS, before, after, strict=True):
        assert int(now or 0) - int(was or 0) == deltas.get(letter, 0), letter
    assert new_record is not None
    if stands:
        assert first is not None
        assert record is not None
        assert new_record.endswith(first.body)
    else:
        assert new_record.endswith(second.body)
        assert new_record.startswith(b'{"status":"%s","attempt":%d,' % (new.encode(), new_at[0]))
