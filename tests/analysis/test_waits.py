"""How long jobs usually wait is learned from the number that the alert compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmon.analysis import waits
from jobmon.analysis.waits import EVERY_SECONDS, Samples, Waits, after, decoded, encoded, quantile
from jobmon.model import Outcome
from jobmon.store import connection
from jobmon.store.bounds import BoundStore
from jobmon.store.keys import Keys
from jobmon.store.series import JOB_BUCKETS
from tests.prometheus import Prometheus, running
from tests.serving import Recorded, until

NOW = 1_800_000_000.0
ZERO = (0,) * (len(JOB_BUCKETS) + 1)


def counted(**of: int) -> tuple[int, ...]:
    """So many observations in buckets, by their place."""
    return tuple(of.get(f"b{at}", 0) for at in range(len(ZERO)))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (counted(b0=100), 0.95 * 0.05),
        (counted(b4=100), 0.5 + 0.95 * 0.5),
        (counted(b0=95, b7=5), 0.05),
        (counted(b0=90, b7=10), 5.0 + 0.5 * 5.0),
        (counted(b0=90, b14=10), 1800.0),
        (counted(b14=10), 1800.0),
    ],
)
def test_quantiles_are_those_of_prometheus(counts: tuple[int, ...], expected: float) -> None:
    assert quantile(0.95, counts, JOB_BUCKETS) == pytest.approx(expected)


@pytest.mark.live
def test_prometheus_says_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    prometheus = Prometheus(tmp_path, "global: {}\n")
    with running(prometheus):
        until(lambda: prometheus.value("vector(1)") == 1)
        for _ in range(20):
            counts = [int(one) for one in random.poisson(2.0, len(ZERO)) * random.integers(0, 2)]
            if not sum(counts):
                continue
            total, parts = 0, []
            for bound, count in zip([*map(str, JOB_BUCKETS), "+Inf"], counts, strict=True):
                total += count
                parts.append(f'label_replace(vector({total}), "le", "{bound}", "", "")')
            query = f"histogram_quantile(0.95, {' or '.join(parts)})"
            assert prometheus.value(query) == pytest.approx(quantile(0.95, counts, JOB_BUCKETS))


COUNTS = st.lists(st.integers(0, 2**40), min_size=len(ZERO), max_size=len(ZERO)).map(tuple)


@given(COUNTS, st.lists(st.tuples(st.integers(0, 2**31), st.floats(0, 1800)), max_size=50))
def test_what_is_kept_is_read_again(
    counts: tuple[int, ...], samples: list[tuple[int, float]]
) -> None:
    slots = np.array([float(slot) for slot, _ in samples])
    seconds = np.array([value for _, value in samples])
    raw = encoded(Samples(counts, slots, seconds))
    found = decoded(raw)
    assert found is not None
    assert found.counts == counts
    assert list(found.slots) == list(slots)
    assert found.seconds == pytest.approx(seconds, rel=1e-3, abs=1e-4)
    assert len(raw) == 120 + 6 * len(samples)


@pytest.mark.parametrize("raw", [None, b"", b"x" * 119, b"x" * 121])
def test_what_is_none_of_that_is_nothing(raw: bytes | None) -> None:
    assert decoded(raw) is None


def test_a_week_is_kept() -> None:
    known: Samples | None = None
    counts = ZERO
    for at in range(2500):
        counts = tuple(one + (50 if place == 5 else 0) for place, one in enumerate(counts))
        known = after(known, counts, NOW + at * EVERY_SECONDS, is_whole=True) or known
    assert known is not None
    assert len(known.slots) == 2016
    assert len(encoded(known)) < 13_000
    later = after(known, counts, NOW + 2499 * EVERY_SECONDS + 8 * 86_400, is_whole=True)
    assert later is not None
    assert len(later.slots) == 0


def test_what_is_no_difference_of_five_minutes_is_no_sample() -> None:
    known = Samples(counted(b5=100), np.zeros(0), np.zeros(0))

    def samples(counts: tuple[int, ...], *, is_whole: bool = True) -> int:
        found = after(known, counts, NOW, is_whole=is_whole)
        return 0 if found is None else len(found.slots)

    assert samples(counted(b5=120)) == 1
    assert samples(counted(b5=119)) == 0  # too few
    assert samples(counted(b5=120), is_whole=False) == 0
    assert samples(counted(b5=10, b6=200)) == 0  # the store was emptied meanwhile
    assert after(known, known.counts, NOW, is_whole=True) is None


class Looks:
    """Looks at a store, every five minutes of a clock of its own."""

    def __init__(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        self._settings = recorded.settings
        self.client = connection.connect(recorded.settings)
        self.store = BoundStore(self.client, recorded.settings)
        self._run = recorded.run()
        self._now = NOW
        monkeypatch.setattr(waits, "now_us", lambda _: int(self._now * 1e6))

    def look(self, jobs: int = 30, seconds: float = 2.0, passed: float = EVERY_SECONDS) -> bool:
        """As another server that leads by now."""
        self._now += passed
        if jobs:
            self._run.jobs(jobs, Outcome.COMPLETED, queue_seconds=seconds)
        return Waits(self.client, self._settings).turn()


@pytest.fixture
def looks(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    one = Looks(recorded, monkeypatch)
    with one.client:
        yield one


def test_a_bound_is_learned_of_a_hundred_looks_whoever_leads(looks: Looks) -> None:
    queue = ("celery", "default")
    for _ in range(100):
        assert looks.look()
        assert not looks.look(jobs=0, passed=1)
    assert looks.store.queues() == {}
    looks.look()
    bound = looks.store.queues()[queue]
    # 95 of 100 in the bucket from 1 to 2.5 s.
    assert 2 * 2.4 < bound.value < 2 * 2.9
    for _ in range(3):
        looks.look(seconds=20.0)
    assert looks.store.queues()[queue].value == bound.value
    assert looks.client.hlen(Keys("jobmon:").queue_samples) == 2


def test_a_queue_whose_series_are_gone_leaves_nothing(looks: Looks) -> None:
    keys = Keys("jobmon:")
    looks.look()
    looks.look()
    assert looks.client.hlen(keys.queue_samples) == 2
    looks.client.delete(keys.job_series)
    looks.look(jobs=0)
    assert looks.client.hkeys(keys.queue_samples) == [b"at"]


def test_what_was_learned_holds_as_long_as_somebody_looks(looks: Looks) -> None:
    keys = Keys("jobmon:")
    for _ in range(102):
        looks.look()
    assert 0 < looks.client.ttl(keys.queue_bounds) <= 7 * 86_400
    assert 0 < looks.client.ttl(keys.queue_samples) <= 7 * 86_400
    # A bound that did not hold that long is there again as soon as somebody looks.
    before = looks.store.queues()
    looks.client.delete(keys.queue_bounds)
    looks.look()
    assert looks.store.queues() == before


def test_a_queue_that_is_idle_for_a_week_has_no_bound(looks: Looks) -> None:
    for _ in range(102):
        looks.look()
    assert looks.store.queues()
    looks.look(jobs=0, passed=8 * 86_400)
    assert looks.store.queues() == {}
