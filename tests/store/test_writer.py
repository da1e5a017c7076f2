"""What the writer takes, refuses and splits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.writer import MAX_BATCH, Applied, Writer
from tests.store.histories import RUNS, run_transition, transition
from tests.store.reference import snapshot

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
GOOD = transition("p1", "good", Status.PENDING)
WRONG: dict[str, dict[str, Any]] = {
    "an unknown status": {"status": "paused"},
    "an unknown outcome": {"outcome": "splendid"},
    "an end without an outcome": {"stages": 4, "outcome": ""},
    "attempt 0": {"attempt": 0},
    "an attempt beyond 32 bits": {"attempt": 2**32},
    "a negative time": {"at_ms": -1},
    "a number beyond 2^53": {"execution_us": 2**60},
    "no job id": {"job_id": ""},
    "a long job id": {"job_id": "x" * 600},
    "a job id of bytes": {"job_id": b"x"},
    "a slash in the process id": {"process_id": "p/1"},
    "no process id": {"process_id": ""},
    "a body that is no object": {"body": b"[1]"},
    "an empty body": {"body": b""},
    "a body with its brace": {"body": b'{"a":1}'},
    "a body that is no JSON": {"manual": True, "body": b'"a":}'},
    "a huge body": {"body": b'"' + b"x" * 2_000_000 + b'"}'},
    "a number that is text": {"peak_memory_bytes": "1"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_a_malformed_transition_is_skipped_and_counted(
    fields: dict[str, Any], store: RedisServer
) -> None:
    wrong = transition("p1", "wrong", Status.PENDING)._replace(**fields)
    with store.client() as client:
        applied = Writer(client, Settings()).apply([GOOD, wrong, GOOD._replace(job_id="too")])
        assert (applied.applied, applied.malformed) == (2, 1)
        assert set(client.hkeys(KEYS.of("p1").jobs)) == {b"good", b"too"}
        assert Reader(client, Settings()).totals().dropped == {"malformed": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "paused"},
        {"status": "completed", "outcome": ""},
        {"at_ms": 0},
        {"body": b"[]"},
        {"exit_code": 2**70},
        {"process_id": ""},
    ],
)
def test_a_malformed_run_is_skipped_and_counted(fields: dict[str, Any], store: RedisServer) -> None:
    wrong = run_transition("p1", "running")._replace(**fields)
    with store.client() as client:
        applied = Writer(client, Settings()).apply([wrong, GOOD])
        assert (applied.applied, applied.malformed) == (1, 1)


def test_something_that_is_no_transition_is_skipped(store: RedisServer) -> None:
    stranger: Any = object()
    with store.client() as client:
        assert Writer(client, Settings()).apply([GOOD, stranger]).malformed == 1


def test_odd_names_and_bodies_arrive_as_they_are(store: RedisServer) -> None:
    body = b'"note":"\\u0000 \xc3\xa9 }{ \\"x\\":\\"1.0.0.0.1\\",","big":12345678901234567,"l":[]}'
    odd = transition("p2", "a/b:c d%\n\U0001f600", Status.PENDING, body=body)
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([odd, odd._replace(body=b'"s":2}', **_end(Status.COMPLETED))])
        writer.apply([odd._replace(attempt=2)])
        record = reader.job("p2", odd.job_id)
        assert record is not None
        assert record.endswith(body)
        assert json.loads(record)["big"] == 12345678901234567
        assert reader.attempts("p2", odd.job_id)[0].endswith(b'"s":2}')
        assert client.exists("jobmon:command:metrics:odd %7Bname%7D 100%25:p2")


def _end(status: Status) -> dict[str, Any]:
    made = transition("p1", "x", status)
    return {"status": made.status, "outcome": made.outcome, "stages": made.stages}


def test_nothing_to_say_makes_no_call(store: RedisServer) -> None:
    with store.client() as client:
        assert Writer(client, Settings()).apply([]) == Applied()
        assert client.dbsize() == 0


def test_drops_alone_are_told(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([], {"full": 3, "child": 1})
        writer.apply([GOOD], {"full": 2})
        assert reader.totals().dropped == {"full": 5, "child": 1}
        assert reader.totals().transitions == 1


def test_a_large_batch_takes_several_calls(store: RedisServer) -> None:
    jobs = [GOOD._replace(job_id=f"job{at}") for at in range(2 * MAX_BATCH + 1)]
    large = [
        GOOD._replace(job_id=f"large{at}", body=b'"x":"%s"}' % (b"y" * 400_000)) for at in range(5)
    ]
    with store.client() as client:
        before = client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        assert Writer(client, Settings()).apply(jobs).applied == len(jobs)
        assert Writer(client, Settings()).apply(large).applied == len(large)
        after = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert client.hlen(KEYS.of("p1").jobs) == len(jobs) + len(large)
        # NOSCRIPT answers count as calls of evalsha, too.
        assert after - before in (6, 7)


def test_another_prefix_is_another_store(store: RedisServer) -> None:
    defaults = Settings()
    other = replace(defaults, redis=replace(defaults.redis, prefix="app2:"))
    with store.client() as client:
        Writer(client, other).apply([GOOD, run_transition("p1", "running")])
        assert all(name.startswith("app2:") for name in snapshot(client))
        assert Reader(client, other).jobs_of_run("p1").total == 1


def test_a_job_without_a_run_has_its_documented_fields(store: RedisServer) -> None:
    body = (
        b'"queue":"q","class":"app.work","command_name":"manual-dispatch","process_id":"m",'
        b'"created_at":1764000000.123456,"started_at":1764000001.5,"finished_at":1764000003.0,'
        b'"queue_time":1.25,"execution_time":1.5,"memory_usage":1048576,"v":1}'
    )
    ended = transition("m", "m", Status.COMPLETED, body=body)
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([transition("m", "m", Status.PENDING), ended])
        fields = client.hgetall(KEYS.job("m"))
        record = fields.pop(b"record")
        assert json.loads(record)["status"] == "completed"
        assert abs(float(fields.pop(b"last_update")) - reader._now()) < 5
        assert fields == {
            b"process_id": b"m",
            b"command_name": b"manual-dispatch",
            b"status": b"completed",
            b"attempt": b"1",
            b"execution_time": b"1.5",
            b"queue_time": b"1.25",
            b"memory_usage": b"1048576",
            b"queue": b"q",
            b"class": b"app.work",
            b"created_at": b"1764000000.123456",
            b"started_at": b"1764000001.5",
            b"finished_at": b"1764000003.0",
        }
        # Fields of the old attempt go with it.
        writer.apply([transition("m", "m", Status.PENDING, 2)])
        assert b"finished_at" not in client.hgetall(KEYS.job("m"))


def test_the_newest_start_owns_the_commands_name(store: RedisServer) -> None:
    def start(process_id: str, at: int) -> Any:
        return run_transition("p1", "running", at)._replace(process_id=process_id)

    with store.client() as client:
        writer = Writer(client, Settings())
        writer.apply([start("first", 0)])
        writer.apply([start("third", 200)])
        writer.apply([start("second", 100)])
        assert client.get(KEYS.newest_run(RUNS["p1"])) == b"third"
        writer.apply([start("fifth", 400), start("fourth", 300)])
        assert client.get(KEYS.newest_run(RUNS["p1"])) == b"fifth"


def test_a_message_of_a_failed_or_lost_job_is_kept_apart(store: RedisServer) -> None:
    with store.client() as client:
        Writer(client, Settings()).apply(
            [
                transition("p1", "a", Status.FAILED, message=b"\x80replay\x00"),
                transition("p1", "b", Status.COMPLETED, message=b"not kept"),
                transition("p1", "c", Status.LOST, message=b"kept"),
            ]
        )
        assert client.get(KEYS.message("a")) == b"\x80replay\x00"
        assert 172_700 < client.ttl(KEYS.message("a")) <= 172_800
        assert client.get(KEYS.message("b")) is None
        assert client.get(KEYS.message("c")) == b"kept"
