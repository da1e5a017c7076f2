"""What a sync reads and clears: whole calls, never older than they say, under a lease alone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import redis

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store import unsynced
from jobmon.store.connection import connect
from jobmon.store.keys import WRITER_RULES, Keys
from jobmon.store.lease import SYNC, Lease
from jobmon.store.unsynced import Done, Mark, Unsynced
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.store.histories import RUNS, run_transition, transition
from tests.store.reference import expiries, values
from tests.store.test_trouble import settings_of

KEYS = Keys("jobmon:")
SETTINGS = Settings()
OWN = KEYS.of("p1")
METRICS = OWN.metrics(RUNS["p1"])


class Store(NamedTuple):
    client: Any
    writer: Writer
    unsynced: Unsynced
    token: int

    def apply(self, *batch: Any) -> int:
        """Apply a batch; its version."""
        applied = self.writer.apply(batch)
        assert applied.malformed == 0
        return applied.version

    def complete(self, *job_ids: str, process_id: str = "p1") -> int:
        return self.apply(*[transition(process_id, one, Status.COMPLETED) for one in job_ids])

    def clear(self, changes: Any) -> bool:
        done = [Done(one.mark, one.up_to, not one.more, one.gone) for one in changes]
        return self.unsynced.clear(self.token, done)


@pytest.fixture
def store(client: Any) -> Store:
    client.flushall()
    token = Lease(client, SETTINGS, SYNC, seconds=3600.0).acquire()
    assert token is not None
    return Store(client, Writer(client, SETTINGS), Unsynced(client, SETTINGS), token)


def test_marks_come_oldest_first_and_say_what_they_are(store: Store) -> None:
    assert store.unsynced.members(1) == []
    odd = transition("p2", "x", Status.FAILED)
    first = store.apply(odd)
    second = store.apply(transition("m", "n/1", Status.LOST))
    third = store.complete("a")
    assert store.unsynced.members(9) == [
        Mark(first, "p2", RUNS["p2"], None, KEYS.of("p2").metrics(RUNS["p2"]).encode()),
        Mark(second, "m", None, "n/1", b"m/n/1"),
        Mark(third, "p1", RUNS["p1"], None, METRICS.encode()),
    ]
    assert store.unsynced.size() == 3
    assert [one.version for one in store.unsynced.members(9, until=second)] == [first, second]


def test_pages_of_marks_neither_miss_nor_repeat_those_of_one_call(store: Store) -> None:
    for _ in range(2):
        store.apply(*[transition(f"m{at}", f"m{at}", Status.COMPLETED) for at in range(150)])
    store.apply(*[transition(f"k{at}", f"k{at}", Status.COMPLETED) for at in range(50)])
    everything = store.unsynced.members(1000)
    for limit in (1, 7, 149, 150, 151):
        paged: list[Mark] = []
        while page := store.unsynced.members(limit, paged[-1] if paged else None):
            assert len(page) <= limit
            paged += page
        assert paged == everything


def test_a_run_is_read_in_whole_calls_until_there_are_enough(store: Store) -> None:
    first = store.complete("a", "b", "c")
    second = store.complete("d")
    third = store.complete("e", "f")
    marks = store.unsynced.members(9)
    assert [one.version for one in marks] == [third]
    [some] = store.unsynced.read(marks, 4)
    found = [(one.job_id, one.version) for one in some.jobs]
    assert found == [("a", first), ("b", first), ("c", first), ("d", second)]
    assert (some.more, some.up_to, some.gone, some.trouble) == (True, second, False, "")
    assert some.run is not None
    assert (some.run["job_count"], some.run["version"]) == ("6", str(third))
    assert store.clear([some])
    [rest] = store.unsynced.read(marks, 4)
    assert [one.job_id for one in rest.jobs] == ["e", "f"]
    assert not rest.more
    assert store.clear([rest])
    assert store.unsynced.members(9) == []
    assert not store.client.exists(OWN.unsynced)


def test_a_job_that_changed_twice_comes_once_at_its_newest_place(store: Store) -> None:
    store.complete("a")
    second = store.complete("b")
    third = store.apply(transition("p1", "a", Status.FAILED, 2))
    [change] = store.unsynced.read(store.unsynced.members(9), 9)
    assert [(one.job_id, one.version) for one in change.jobs] == [("b", second), ("a", third)]
    record = change.jobs[1].record
    assert record is not None
    assert record.startswith(b'{"status":"failed","attempt":2,')


def test_what_comes_late_to_a_job_that_is_synced_marks_it_again(store: Store) -> None:
    store.apply(transition("p1", "a", Status.COMPLETED, 2))
    store.apply(transition("k", "n", Status.COMPLETED, 2))
    assert store.clear(store.unsynced.read(store.unsynced.members(9), 9))
    ends = expiries(store.client, [METRICS])
    store.apply(transition("p1", "a", Status.RETRYING))
    store.apply(transition("m", "n", Status.RETRYING))  # in another tree, it is said
    run, job = store.unsynced.read(store.unsynced.members(9), 9)
    assert [one.job_id for one in run.jobs] == ["a"]
    assert (job.mark.process_id, job.gone) == ("k", False)
    assert len(store.unsynced.attempts("p1", [("a", 2)])["a"]) == 1
    [of_list, *others] = expiries(store.client, [OWN.unsynced, OWN.jobs, METRICS])
    assert others == [of_list] * 2
    assert abs(of_list - ends[0]) < 50


def test_a_look_without_clearing_goes_to_the_end_of_each_list(store: Store) -> None:
    for at in range(5):
        store.complete(f"a{at}", f"b{at}")
        store.complete(f"c{at}", process_id="p2")
    store.complete("m", process_id="m")
    before = values(store.client)
    changes = list(store.unsynced.peek(store.unsynced.members(9), 3))
    jobs = sorted(one.job_id for change in changes for one in change.jobs)
    assert jobs == sorted([f"{n}{at}" for n in "abc" for at in range(5)] + ["m"])
    assert sum(not change.more for change in changes) == 3
    assert values(store.client) == before


def test_a_mark_that_was_set_again_stays_and_what_was_read_goes(store: Store) -> None:
    store.complete("a")
    store.complete("m", process_id="m")
    changes = store.unsynced.read(store.unsynced.members(9), 9)
    again = store.complete("b")
    also = store.apply(transition("m", "m", Status.FAILED, 2))
    assert store.clear(changes)
    marks = store.unsynced.members(9)
    assert [(one.version, one.process_id) for one in marks] == [(again, "p1"), (also, "m")]
    assert [one.job_id for one in store.unsynced.read(marks, 9)[0].jobs] == ["b"]


def test_jobs_may_be_cleared_before_their_run_is_done(store: Store) -> None:
    first = store.complete("a")
    store.complete("b")
    mark = store.unsynced.members(9)[0]
    assert store.unsynced.clear(store.token, [Done(mark, first, whole=False, expired=False)])
    assert [one.job_id for one in store.unsynced.read([mark], 9)[0].jobs] == ["b"]
    # Nothing is whole while its list is not empty.
    assert store.unsynced.clear(store.token, [Done(mark, None, whole=True, expired=False)])
    assert store.unsynced.members(9) == [mark]


def test_the_end_of_a_drained_run_is_cleared_with_its_mark(store: Store) -> None:
    store.apply(run_transition("p1", "running"))
    store.complete("a")
    store.apply(run_transition("p1", "completed"))
    assert store.client.zrange(KEYS.drained, 0, -1) == [b"p1"]
    assert store.clear(store.unsynced.read(store.unsynced.members(9), 9))
    assert not store.client.exists(KEYS.drained)


def test_nobody_clears_anything_without_the_lease(store: Store) -> None:
    store.apply(transition("p1", "a", Status.FAILED), run_transition("p1", "failed"))
    hasty = Unsynced(store.client, replace(SETTINGS, completed_ttl=0), cleanup_after_hours=0)
    assert store.clear(store.unsynced.read(store.unsynced.members(9), 9))
    store.apply(transition("p1", "b", Status.FAILED))
    changes = hasty.read(hasty.members(9), 9)
    done = [Done(one.mark, one.up_to, not one.more, one.gone) for one in changes]
    before = values(store.client)
    for token in (store.token - 1, store.token + 1, 0):
        assert not hasty.clear(token, done)
        assert not hasty.clear_failures(token, hasty.failures(9))
        assert hasty.extend(token) == 0
        assert hasty.remove(token) == 0
    store.client.hset(KEYS.meta, "schema", 99)
    assert not hasty.clear(store.token, done)
    store.client.hset(KEYS.meta, "schema", 1)
    assert values(store.client) == before
    store.client.delete(KEYS.lease(SYNC))
    assert not hasty.clear(store.token, done)


def test_what_expired_before_it_was_synced_is_gone_and_counted_once(store: Store) -> None:
    store.complete("a")
    store.complete("n", process_id="m")
    store.client.delete(OWN.jobs, METRICS, OWN.unsynced, KEYS.job("n"))
    changes = store.unsynced.read(store.unsynced.members(9), 9)
    assert [(one.gone, one.run) for one in changes] == [(True, None), (True, None)]
    assert changes[1].jobs[0].record is None
    assert store.clear(changes)
    assert store.clear(changes)
    assert store.client.hget(KEYS.recorder_totals, "expired_unsynced") == b"2"
    assert store.unsynced.size() == 0


def test_a_job_that_is_in_another_tree_by_now_is_gone_from_this_one(store: Store) -> None:
    store.complete("n", process_id="m")
    store.apply(transition("k", "n", Status.FAILED, 2))
    old, new = store.unsynced.read(store.unsynced.members(9), 9)
    assert (old.mark.process_id, old.gone) == ("m", True)
    assert (new.mark.process_id, new.gone) == ("k", False)


def test_many_marks_are_cleared_in_several_calls(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsynced, "MOST_MARKS", 10)
    for at in range(25):
        store.complete("a", process_id=f"m{at}") if at % 2 else store.complete(f"j{at}")
    store.apply(*[transition(f"k{at}", f"k{at}", Status.LOST) for at in range(35)])
    assert store.clear(store.unsynced.read(store.unsynced.members(1000), 100))
    assert store.unsynced.size() == 0
    assert store.unsynced.clear_failures(store.token, store.unsynced.failures(1000))
    assert store.unsynced.failures(1000) == []


def test_what_was_edited_by_hand_stops_nobody_and_can_be_cleared(store: Store) -> None:
    client = store.client
    for at in range(4):
        run = transition("p1", "a", Status.COMPLETED)._replace(process_id=f"r{at}")
        store.apply(run)
    store.complete("m", process_id="m")
    store.complete("good")
    for at, key in enumerate([KEYS.of("r0").unsynced, KEYS.of("r1").jobs, KEYS.job("m")]):
        client.delete(key)
        client.set(key, at)
    odd = KEYS.of("r2").metrics(RUNS["p1"])
    client.delete(odd)
    client.set(odd, "odd")
    client.lpush(KEYS.of("r3").unsynced, "stray", "9:99999999")
    client.zadd(KEYS.unsynced, {"no mark": 5, b"\xff/\xff": 6, "jobmon:command:metrics:": 7})
    changes = store.unsynced.read(store.unsynced.members(99), 9)
    told = {one.mark.process_id: one for one in changes}
    for name in ("r0", "r1", "r2", "m"):
        assert told[name].trouble
        assert not told[name].jobs
    assert not told["r3"].trouble
    assert [one.job_id for one in told["r3"].jobs] == ["9:99999999", "stray", "a"]
    assert [one.record is None for one in told["r3"].jobs] == [True, True, False]
    assert [one.version for one in told["r3"].jobs][:2] == [0, 0]
    assert told["no mark"].gone
    assert told["p1"].jobs[0].record is not None
    assert store.clear(changes)
    assert store.unsynced.size() == 0
    assert not client.exists(KEYS.of("r3").unsynced)


def test_a_list_that_was_cut_by_hand_is_read_to_its_end(store: Store) -> None:
    store.complete("a", "b", "c")
    store.client.rpop(OWN.unsynced)
    [change] = store.unsynced.read(store.unsynced.members(9), 1)
    assert [one.job_id for one in change.jobs] == ["a", "b"]
    assert not change.more
    assert store.clear([change])
    assert store.unsynced.size() == 0


def test_earlier_attempts_of_a_run_and_of_jobs_without_one(store: Store) -> None:
    for process_id, job_id in (("p1", "a"), ("m", "n")):
        for attempt in (1, 2, 4):
            store.apply(transition(process_id, job_id, Status.COMPLETED, attempt))
    store.complete("once")
    found = store.unsynced.attempts("p1", [("a", 4), ("once", 1), ("absent", 3)])
    assert list(found) == ["a"]
    assert [record[:33] for record in found["a"]] == [
        b'{"status":"completed","attempt":1',
        b'{"status":"completed","attempt":2',
    ]
    assert len(store.unsynced.attempts("m", [("n", 4)])["n"]) == 2
    assert store.unsynced.attempts("p1", []) == {}


def test_a_failure_is_marked_when_it_comes_changes_and_goes(store: Store) -> None:
    first = store.apply(transition("p1", "a", Status.FAILED, message=b"replay"))
    second = store.apply(transition("m", "n/1", Status.LOST))
    store.complete("fine")
    assert store.unsynced.failures(9) == [("p1", "a", first), ("m", "n/1", second)]
    assert store.unsynced.failures(1) == [("p1", "a", first)]
    records = store.unsynced.failure_records([("p1", "a"), ("m", "n/1"), ("x", "y"), ("k", "n/1")])
    assert [(bool(record), message) for record, message in records] == [
        *[(True, b"replay"), (True, None)],
        *[(False, None), (False, None)],
    ]
    marked = store.unsynced.failures(9)
    third = store.apply(transition("p1", "a", Status.PENDING, 2))
    assert store.unsynced.clear_failures(store.token, marked)
    assert store.unsynced.failures(9) == [("p1", "a", third)]
    assert store.unsynced.clear_failures(store.token, store.unsynced.failures(9))
    store.apply(transition("p1", "a", Status.COMPLETED, 2))
    assert store.unsynced.failures(9) == []


def test_what_names_no_job_is_thrown_out_of_the_failures(store: Store) -> None:
    store.client.zadd(KEYS.failures, {"no job": 1, b"\xff/a": 2})
    store.client.set(KEYS.job("b"), "odd")
    version = store.apply(transition("p1", "b", Status.FAILED))
    store.unsynced.failures(9)
    assert store.unsynced.failures(9) == [("p1", "b", version)]
    [(record, _)] = store.unsynced.failure_records([("p1", "b")])
    assert record is not None


def lives(client: Any, *names: str) -> set[int]:
    """In how many seconds keys expire."""
    return {round(at / 1000 - time.time()) for at in expiries(client, names) if at != -2}


def test_what_waits_for_half_of_its_life_lives_on(store: Store) -> None:
    client = store.client
    store.apply(run_transition("p1", "running"), run_transition("p2", "running"))
    store.apply(transition("p1", "a", Status.COMPLETED, 2), transition("m", "n", Status.COMPLETED))
    store.apply(transition("p1", "a", Status.COMPLETED, 3), run_transition("p1", "completed"))
    store.apply(transition("p2", "a", Status.PROCESSING), transition("p2", "b", Status.COMPLETED))
    of_run = (OWN.jobs, OWN.attempts, OWN.unsynced, METRICS)
    assert lives(client, *of_run) == {3600}
    assert store.unsynced.extend(store.token) == 0
    age_us = 1_801_000_000
    for member, score in client.zrange(KEYS.unsynced, 0, -1, withscores=True):
        client.zadd(KEYS.unsynced, {member: score - age_us})
    assert store.unsynced.extend(store.token) == 3
    assert store.unsynced.extend(store.token) == 0
    assert len(set(expiries(client, of_run))) == 1
    until = 172_800 - 1801
    assert max(lives(client, *of_run)) in (until, until - 1)
    assert lives(client, KEYS.job("n")) == lives(client, *of_run)
    # A tree's set never ends before its jobs, and a run with open jobs is open for as long.
    assert max(lives(client, KEYS.of("m").manual)) >= min(lives(client, KEYS.job("n")))
    [(_, score)] = client.zrange(KEYS.open_runs, 0, -1, withscores=True)
    assert expiries(client, [KEYS.of("p2").metrics(RUNS["p2"])]) == [int(score)]


def test_nothing_is_made_to_live_for_less_long(store: Store) -> None:
    store.apply(transition("p1", "a", Status.FAILED), transition("m", "n", Status.FAILED))
    names = (OWN.jobs, METRICS, KEYS.job("n"))
    before = expiries(store.client, names)
    brief = Unsynced(store.client, replace(SETTINGS, completed_ttl=0, failed_ttl=100))
    assert brief.extend(store.token) == 0
    assert expiries(store.client, names) == before
    store.client.persist(METRICS)
    assert brief.extend(store.token) == 0
    assert store.client.pttl(METRICS) == -1


class Cleaner(NamedTuple):
    store: Store
    unsynced: Unsynced

    def sync(self, *, failures: bool = True) -> None:
        done = [
            Done(one.mark, one.up_to, whole=True, expired=one.gone)
            for one in self.unsynced.read(self.unsynced.members(99), 99)
        ]
        assert self.unsynced.clear(self.store.token, done)
        if failures:
            assert self.unsynced.clear_failures(self.store.token, self.unsynced.failures(99))

    def remove(self) -> int:
        return self.unsynced.remove(self.store.token)


@pytest.fixture
def cleaner(store: Store) -> Cleaner:
    return Cleaner(store, Unsynced(store.client, SETTINGS, cleanup_after_hours=0))


def test_what_is_synced_and_has_ended_is_removed_whole(store: Store, cleaner: Cleaner) -> None:
    store.apply(run_transition("p1", "running"))
    store.apply(*[transition("p1", one, Status.FAILED, 2) for one in "abc"])
    store.apply(run_transition("p1", "failed"))
    store.apply(*[transition("m", one, Status.COMPLETED, 2) for one in ("m", "n", "o")])
    store.apply(transition("m", "open", Status.PENDING))
    assert cleaner.remove() == 0
    cleaner.sync()
    assert store.client.exists(OWN.jobs, METRICS, KEYS.job("n")) == 3
    assert cleaner.remove() == 6
    assert not store.client.exists(OWN.jobs, METRICS, OWN.attempts, OWN.unsynced, KEYS.job("n"))
    assert store.client.smembers(KEYS.of("m").manual) == {b"open"}
    assert store.client.exists(KEYS.job("open"))
    assert not store.client.exists(KEYS.synced)
    assert store.client.hexists(KEYS.finished, "p1")
    assert cleaner.remove() == 0


@pytest.mark.parametrize("why", ["open", "running", "changed", "marked again", "not for so long"])
def test_what_is_not_done_stays(why: str, store: Store, cleaner: Cleaner) -> None:
    store.complete("a")
    if why == "open":
        store.apply(transition("p1", "b", Status.PENDING))
    if why != "running":
        store.apply(run_transition("p1", "completed"))
    cleaner.sync()
    if why == "changed":
        store.apply(transition("p1", "b", Status.PENDING))
    elif why == "marked again":
        store.complete("c")
    elif why == "not for so long":
        cleaner = Cleaner(store, Unsynced(store.client, SETTINGS, cleanup_after_hours=0.01))
    assert cleaner.remove() == 0
    assert store.client.exists(OWN.jobs, METRICS) == 2


def test_nothing_is_removed_before_its_failures_are_written(store: Store, cleaner: Cleaner) -> None:
    store.complete("old", process_id="m")
    store.apply(transition("p1", "a", Status.FAILED), run_transition("p1", "failed"))
    store.complete("new", process_id="m")
    cleaner.sync(failures=False)
    assert cleaner.remove() == 1  # what is older than the oldest of them
    assert not store.client.exists(KEYS.job("old"))
    assert store.client.exists(METRICS, KEYS.job("new")) == 2
    cleaner.sync()
    assert cleaner.remove() == 2


def test_what_expires_before_its_cleanup_is_not_remembered_for_it(store: Store) -> None:
    store.complete("done", process_id="m")
    store.apply(transition("k", "k", Status.FAILED))
    assert store.clear(store.unsynced.read(store.unsynced.members(9), 9))
    assert store.client.zrange(KEYS.synced, 0, -1) == [b"k/k"]
    day_us = 86_400_000_000
    store.client.zincrby(KEYS.synced, -4 * day_us, "k/k")
    store.apply(transition("k", "k", Status.FAILED, 2), transition("x", "x", Status.FAILED))
    store.client.zadd(KEYS.synced, {"old": 5})
    assert store.clear(store.unsynced.read(store.unsynced.members(9), 9))
    assert set(store.client.zrange(KEYS.synced, 0, -1)) == {b"k/k", b"x/x"}


def test_a_server_out_of_memory_can_still_be_emptied(own_server: RedisServer) -> None:
    with own_server.client() as client:
        token = Lease(client, SETTINGS, seconds=3600.0).acquire()
        assert token is not None
        Writer(client, SETTINGS).apply([transition("p1", "a", Status.COMPLETED)])
        marks = Unsynced(client, SETTINGS)
        [change] = marks.read(marks.members(9), 9)
        client.config_set("maxmemory", 1)
        assert marks.clear(token, [Done(change.mark, change.up_to, whole=True, expired=True)])
        client.config_set("maxmemory", 0)
        assert marks.size() == 0
        assert client.hget(KEYS.recorder_totals, "expired_unsynced") == b"1"


def test_who_clears_needs_no_more_rights_than_who_records_who_removes_one_more(
    own_server: RedisServer,
) -> None:
    with own_server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">secret", "~jobmon:*", *WRITER_RULES.split()
        )
    with connect(settings_of(own_server, username="worker", password="secret")) as own:
        token = Lease(own, SETTINGS).acquire()
        assert token is not None
        batch = [transition("p1", "a", Status.FAILED), run_transition("p1", "failed")]
        Writer(own, SETTINGS).apply(batch)
        marks = Unsynced(own, replace(SETTINGS, completed_ttl=0), cleanup_after_hours=0)
        own.zadd(KEYS.unsynced, {"no mark": 5})
        changes = marks.read(marks.members(9), 9)
        marks.extend(token)
        assert marks.clear(
            token, [Done(one.mark, one.up_to, whole=True, expired=one.gone) for one in changes]
        )
        assert marks.clear_failures(token, marks.failures(9))
        with pytest.raises(redis.ResponseError, match=r"can't run this|unlink"):
            marks.remove(token)
        with own_server.client() as client:
            client.execute_command("ACL", "SETUSER", "worker", "+unlink")
        assert marks.remove(token) == 1
