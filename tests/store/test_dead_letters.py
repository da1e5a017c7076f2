"""What could not be written: kept within bounds, shown, and tried again."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store import dead_letters
from jobmon.store.dead_letters import LONGEST_BYTES, DeadLetters
from jobmon.store.keys import Keys
from jobmon.store.lease import Lease
from jobmon.store.unsynced import Done, Unsynced
from jobmon.store.writer import Writer
from tests.store.histories import RUNS, run_transition, transition

KEYS = Keys("jobmon:")
SETTINGS = Settings()
OWN = KEYS.of("p1")
METRICS = OWN.metrics(RUNS["p1"])


@pytest.fixture
def letters(client: Any) -> DeadLetters:
    client.flushall()
    return DeadLetters(client, SETTINGS)


def test_a_letter_says_what_it_is_newest_first_and_is_counted(
    client: Any, letters: DeadLetters
) -> None:
    letters.add("p1", "a", "no JSON", b'{"x":1}', command="nightly")
    letters.add("p2", None, "odd", b'{"command_name":"daily"}')
    newest, oldest = letters.read()
    assert oldest[1:8] == ("p1", "a", "nightly", "no JSON", '{"x":1}', "text", 7)
    assert newest[1:5] == ("p2", None, "daily", "odd")
    assert newest.at >= oldest.at > 1e9
    assert letters.read(1) == [newest]
    assert letters.size() == 2
    assert client.hget(KEYS.recorder_totals, "dead_letters") == b"2"


@pytest.mark.parametrize(
    "record",
    [
        *[b"x" * 100_000, b"\x00" * 100_000, b"\xff" * 100_000, "é☃😀".encode() * 10_000],
        *[b'"\\' * 50_000, b"\xed\xa0\x80 lone", b"cut \xf0\x9f"],
    ],
)
def test_a_letter_is_never_longer_than_16_kib(
    record: bytes, client: Any, letters: DeadLetters
) -> None:
    letters.add("p" * 5000, "\x07" * 5000, "r" * 5000, record, command="c" * 5000)
    [raw] = client.lrange(KEYS.dead_letters, 0, -1)
    assert len(raw) <= LONGEST_BYTES
    [letter] = letters.read()
    assert letter.size == len(record)
    shown = letter.record.encode()
    if letter.encoding == "base64":
        shown = base64.b64decode(letter.record)
    assert record.startswith(shown)
    assert len(record) < 1000 or len(raw) > LONGEST_BYTES // 2
    assert (letter.encoding == "text") == ("é☃😀".encode() in record or record.isascii())


def test_the_oldest_letters_give_way(letters: DeadLetters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MOST", 3)
    for at in range(5):
        letters.add("p1", str(at), "odd", b"")
    assert [one.job_id for one in letters.read()] == ["4", "3", "2"]


def test_what_is_no_letter_is_left_out(client: Any, letters: DeadLetters) -> None:
    letters.add("p1", "a", "odd", b"")
    odd = {"process_id": "p", "job_id": None, "at": "x", "size": "y", "command": 1}
    client.rpush(KEYS.dead_letters, "[", "[]", '{"process_id":1}', json.dumps(odd))
    found = letters.read()
    assert [one.process_id for one in found] == ["p", "p1"]
    assert (found[0].at, found[0].size, found[0].command) == (0.0, 0, None)


def test_a_list_of_another_type_stops_nobody(client: Any, letters: DeadLetters) -> None:
    client.set(KEYS.dead_letters, "odd")
    letters.add("p1", "a", "odd", b"")
    assert client.hget(KEYS.recorder_totals, "dead_letters") == b"1"


def synced(client: Any) -> Unsynced:
    """A store of which the history has all, and who reads it."""
    writer = Writer(client, SETTINGS)
    writer.apply([run_transition("p1", "running"), run_transition("p2", "running")])
    writer.apply([transition("p1", "a", Status.FAILED), transition("p1", "b", Status.COMPLETED)])
    writer.apply([run_transition("p1", "failed")])
    writer.apply([transition("m", "n", Status.COMPLETED)])
    lease = Lease(client, SETTINGS)
    token = lease.acquire()
    assert token is not None
    unsynced = Unsynced(client, SETTINGS)
    changes = unsynced.read(unsynced.members(99), 99)
    done = [Done(one.mark, one.up_to, not one.more, one.gone) for one in changes]
    assert unsynced.clear(token, done)
    assert unsynced.clear_failures(token, unsynced.failures(99))
    assert unsynced.size() == 0
    assert lease.release(token)
    return unsynced


def test_a_letter_that_is_tried_again_is_unsynced_anew(client: Any, letters: DeadLetters) -> None:
    unsynced = synced(client)
    before = int(client.hget(KEYS.meta, "clock"))
    ends = client.pttl(METRICS)
    letters.add("p1", "a", "odd", b"", command=RUNS["p1"])
    letters.add("p1", "b", "odd", b"", command=RUNS["p1"])
    letters.add("m", "n", "odd", b"")
    letters.add("p1", "gone", "odd", b"", command=RUNS["p1"])
    letters.add("p9", None, "odd", b"")
    assert letters.requeue(1) == 1
    assert letters.size() == 4
    assert letters.requeue() == 2
    assert letters.size() == 0
    run, job = unsynced.members(99)
    assert (run.process_id, run.job_id, job.process_id, job.job_id) == ("p1", None, "m", "n")
    assert before < run.version < job.version <= int(client.hget(KEYS.meta, "clock"))
    [one, other] = [unsynced.read([run, job], limit)[0] for limit in (1, 9)]
    assert ([j.job_id for j in one.jobs], one.more) == (["a"], True)
    assert [j.job_id for j in other.jobs] == ["a", "b"]
    assert len({j.version for j in other.jobs}) == 2
    assert client.zrange(KEYS.drained, 0, -1) == [b"p1"]
    assert {job_id for _, job_id, _ in unsynced.failures(99)} == {"a", "b", "n"}
    assert abs(client.pttl(OWN.unsynced) - client.pttl(METRICS)) < 5
    assert client.pttl(METRICS) <= ends
    # A later change is newer than that.
    version = Writer(client, SETTINGS).apply([transition("m", "n", Status.FAILED, 2)]).version
    assert version > job.version


def test_a_run_is_found_without_its_command(client: Any, letters: DeadLetters) -> None:
    unsynced = synced(client)
    for name in ("p1", "p2"):
        key = KEYS.finished if name == "p1" else KEYS.running
        client.hset(key, name, json.dumps({"id": name, "command": RUNS[name]}))
        letters.add(name, None, "odd", b"{")
    assert letters.requeue() == 2
    assert {(one.process_id, one.command) for one in unsynced.members(9)} == set(RUNS.items())


def test_what_cannot_be_tried_again_goes_and_stops_no_other(
    client: Any, letters: DeadLetters
) -> None:
    unsynced = synced(client)
    client.rpush(KEYS.dead_letters, "[", '{"process_id":"p1","job_id":"a","command":"other"}')
    client.set(OWN.unsynced, "odd")
    client.set(KEYS.job("x"), "odd")
    letters.add("p1", "a", "odd", b"", command=RUNS["p1"])
    letters.add("m", "x", "odd", b"")
    letters.add("m", "n", "odd", b"")
    assert letters.requeue() == 1
    assert letters.size() == 0
    assert [one.job_id for one in unsynced.members(9)] == ["n"]


def test_a_newer_store_is_not_marked(client: Any, letters: DeadLetters) -> None:
    synced(client)
    letters.add("m", "n", "odd", b"")
    client.hset(KEYS.meta, "schema", 99)
    assert letters.requeue() == 0
    assert letters.size() == 1
