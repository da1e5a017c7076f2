"""What readers get, from good and from bad entries."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from jobmon.model import Status
from jobmon.settings import Settings
from jobmon.store.keys import Keys
from jobmon.store.reader import Reader
from jobmon.store.state import QueueCounts
from jobmon.store.writer import Writer
from tests.store.histories import NOW_MS, RUNS, run_transition, transition

if TYPE_CHECKING:
    from tests.conftest import RedisServer

KEYS = Keys("jobmon:")
OWN = KEYS.of("p1")


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()[1:]


def run(process_id: str, status: str, at: int = 0, **fields: Any) -> Any:
    made = run_transition("p1", status, at)
    time_name = "started_at" if status == "running" else "finished_at"
    record = {"id": process_id, "command": RUNS["p1"], time_name: made.at_ms / 1000, **fields}
    return made._replace(process_id=process_id, body=json.dumps(record).encode())


def test_runs_are_listed_newest_first(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([run(f"r{at}", "running", at * 10) for at in (2, 0, 1)])
        running, total = reader.running_commands()
        assert [one.process_id for one in running] == ["r2", "r1", "r0"]
        assert total == 3
        assert [one.process_id for one in reader.running_commands(1)[0]] == ["r2"]
        ended = {"exit_code": 3, "arguments": {"a": 1}, "trace_id": "t", "source": "schedule"}
        writer.apply([run("r1", "failed", 5, **ended), run("r0", "completed", 9, exit_code=0)])
        finished, total = reader.finished_commands()
        assert [(one.process_id, one.status) for one in finished] == [
            ("r0", "completed"),
            ("r1", "failed"),
        ]
        assert total == 2
        failed = finished[1]
        assert (failed.exit_code, failed.arguments, failed.source) == (3, {"a": 1}, "schedule")
        assert failed.data["trace_id"] == "t"
        assert reader.running_commands()[1] == 1


def test_a_run_is_found_as_long_as_a_key_of_it_lives(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        assert reader.run("r") is None
        writer.apply([run("r", "running"), transition("p1", "a", Status.PENDING)])
        found = reader.run("r")
        assert found is not None
        assert found.status == "running"
        job = transition("p1", "a", Status.PENDING, body=body(command_name=RUNS["p1"]))
        writer.apply([job._replace(process_id="r"), run("r", "completed", exit_code=0)])
        client.delete(KEYS.finished)
        found = reader.run("r")
        assert found is not None
        assert (found.status, found.command) == ("completed", RUNS["p1"])


def test_jobs_come_in_pages_in_the_order_of_their_creation(store: RedisServer) -> None:
    jobs = [
        transition("p1", f"job{at:03}", Status.PENDING, body=body(created_at=1000.5 + at // 3))
        for at in range(50)
    ]
    tree = [job._replace(process_id="m", manual=True) for job in jobs]
    root = transition("m", "m", Status.PENDING, body=body(created_at=5))
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply(jobs[::-1])
        writer.apply([*tree, root])
        for process_id, expected in (("p1", 50), ("m", 51)):
            got: list[str] = []
            cursor, pages = "", 0
            while True:
                page = reader.jobs_of_run(process_id, limit=7, cursor=cursor)
                assert page.total == expected
                got += [job_id for job_id, _ in page.jobs]
                pages += 1
                cursor = page.next_cursor
                if not cursor:
                    break
            assert pages == 8
            own = [job.job_id for job in jobs]
            assert got == (own if process_id == "p1" else ["m", *own])
        assert reader.jobs_of_run("p1", limit=50).next_cursor == ""
        assert len(reader.jobs_of_run("p1", cursor="nonsense!").jobs) == 50
        assert reader.jobs_of_run("nobody").jobs == []


def test_a_record_is_shown_byte_for_byte(store: RedisServer) -> None:
    with store.client() as client:
        Writer(client, Settings()).apply([transition("p1", "a", Status.PENDING)])
        stored = client.hget(OWN.jobs, "a")
        assert Reader(client, Settings()).jobs_of_run("p1").jobs == [("a", stored)]


def test_queues_are_counted_by_state(store: RedisServer) -> None:
    def job(name: str, status: Status, queue: str, **fields: Any) -> Any:
        made = transition("p1", name, status, queue=queue, body=body(queue=queue))
        return made._replace(**fields)

    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply(
            [
                job("a", Status.PENDING, "default"),
                job("b", Status.RETRYING, "default"),
                job("c", Status.PROCESSING, "default", engine="rq"),
                job("d", Status.FAILED, "mail"),
                job("e", Status.LOST, "mail", process_id="m", job_id="e", manual=True),
                job("f", Status.COMPLETED, "idle"),
            ]
        )
        assert reader.queue_counts() == {
            "default": QueueCounts(pending=2, processing=1),
            "idle": QueueCounts(),
            "mail": QueueCounts(failed=2),
        }
        client.zadd(KEYS.queues, {"idle": (time.time() - 90_000) * 1000})
        assert "idle" not in reader.queue_counts()


def test_every_failed_job_counts_until_it_runs_again_or_its_record_is_gone(
    store: RedisServer,
) -> None:
    settings = Settings(failed_ttl=60)
    with store.client() as client:
        writer, reader = Writer(client, settings), Reader(client, settings)
        now_ms = int(time.time() * 1000)
        jobs = [
            transition("p1", f"j{at}", Status.FAILED, at_ms=now_ms - 1000 * at) for at in range(90)
        ]
        writer.apply(jobs)
        assert reader.queue_counts()["default"].failed in (59, 60)
        writer.apply([transition("p1", "j0", Status.PENDING, attempt=2)])
        assert reader.queue_counts()["default"].failed in (58, 59)
        writer.apply([transition("p1", "e", Status.FAILED, queue="", at_ms=now_ms)])
        assert "" not in reader.queue_counts()


def test_running_jobs_are_counted_by_run(store: RedisServer) -> None:
    with store.client() as client:
        Writer(client, Settings()).apply(
            [
                *(transition("p1", name, Status.PROCESSING) for name in ("a", "b/c")),
                transition("p2", "a", Status.PROCESSING, queue="mail"),
                transition("p2", "b", Status.PENDING),
                transition("m", "n", Status.PROCESSING),
            ]
        )
        assert Reader(client, Settings()).processing_by_run() == {"p1": 2, "p2": 1, "m": 1}


def test_failed_jobs_are_listed_newest_first(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for at in range(5):
            writer.apply([transition("p1", f"j/{at}", Status.FAILED, at_ms=NOW_MS + at)])
        writer.apply([transition("m", "n", Status.LOST, at_ms=NOW_MS + 9)])
        failed, total = reader.failed_jobs(limit=3)
        assert total == 6
        assert [(one.process_id, one.job_id) for one in failed] == [
            *(("m", "n"), ("p1", "j/4"), ("p1", "j/3")),
        ]
        assert failed[0].ended_at == (NOW_MS + 9) / 1000
        assert len(reader.failed_jobs(limit=10, offset=4)[0]) == 2
        # What expired is no longer there.
        client.delete(OWN.jobs)
        assert len(reader.failed_jobs()[0]) == 1


def test_bad_entries_are_skipped_and_counted(store: RedisServer) -> None:
    bad = {
        "text": b"no json",
        "bytes": b"\xff\x00",
        "list": b"[]",
        "deep": b"[" * 100_000,
        "newer": b'{"status":"pending","attempt":1,"v":2}',
        "digits": b'{"a":' + b"9" * 10_000 + b"}",
    }
    odd = b'{"status":"pending","attempt":1e400,"created_at":%s,"v":"x"}' % (b"9" * 400)
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        writer.apply([run("r", "running"), transition("p1", "good", Status.FAILED)])
        client.hset(OWN.jobs, mapping={**bad, "odd": odd})
        client.hset(KEYS.running, mapping={**bad, "nameless": b"{}"})
        client.zadd(KEYS.failed, {"p1/text": 1, "no slash": 2, "\xff/x": 3})
        client.hset(KEYS.job_totals, mapping={"1:enqueued": "many", "": "1", "::": "-"})
        client.hset(KEYS.job_series, mapping={"no labels": "7", "a\x1fb\x1fc": "x"})
        client.hset(KEYS.recorder_totals, mapping={"lag_ms": "soon"})
        page = reader.jobs_of_run("p1")
        assert {job_id for job_id, _ in page.jobs} == {"good", "odd"}
        assert page.total == 8
        assert reader.skipped == len(bad)
        assert len(reader.running_commands()[0]) == 1
        assert reader.skipped == 2 * len(bad) + 1
        assert len(reader.failed_jobs()[0]) == 1
        assert reader.totals().lag == 0
        assert reader.queue_counts()["default"] == QueueCounts(failed=1)
        assert reader.run_counters("p1", RUNS["p1"]) is not None
        client.hset(OWN.metrics(RUNS["p1"]), mapping={"job_count": "x", "total_job_time": "nan"})
        counters = reader.run_counters("p1", RUNS["p1"])
        assert counters is not None
        assert (counters.job_count, counters.total_job_time) == (0, 0.0)


def test_counters_of_a_run_are_typed(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        assert reader.run_counters("p1", RUNS["p1"]) is None
        writer.apply(
            [
                run_transition("p1", "running"),
                transition("p1", "a", Status.COMPLETED, execution_us=1_500_000),
                transition("p1", "b", Status.COMPLETED, 2, execution_us=250_001),
                transition("p1", "c", Status.LOST, peak_memory_bytes=9000),
                transition("p1", "d", Status.PENDING, peak_memory_bytes=0),
            ]
        )
        found = reader.run_counters("p1", RUNS["p1"])
        assert found is not None
        assert (found.job_count, found.success_jobs, found.failed_jobs) == (4, 2, 1)
        assert (found.lost_jobs, found.retried_jobs, found.open_jobs) == (1, 1, 1)
        assert found.total_job_time == 1.750001
        assert found.peak_memory == 9000
        assert not found.finished
        assert found.drained_at is None
        writer.apply([transition("p1", "d", Status.COMPLETED), run_transition("p1", "completed")])
        found = reader.run_counters("p1", RUNS["p1"])
        assert found is not None
        assert found.finished
        assert found.drained_at is not None


def test_totals_are_typed(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        assert reader.totals().jobs == []
        job = transition("p1", "a", Status.COMPLETED, execution_us=200_000, queue_time_us=60_000)
        writer.apply(
            [
                run("p1", "running"),
                transition("p1", "a", Status.PENDING),
                job._replace(stages=6, outcome="completed"),
                transition("p1", "b", Status.LOST, stages=8, error_type=""),
                transition("p1", "b", Status.FAILED, stages=4, outcome="timed_out", error_type="E"),
                run("p1", "completed", exit_code=0),
            ]
        )
        totals = reader.totals()
        series = totals.jobs[0]
        assert (series.engine, series.queue, series.job_name) == (
            *("celery", "default", "app.tasks.work"),
        )
        assert (series.enqueued, series.started, series.lost_corrected) == (1, 1, 1)
        assert series.finished == {"completed": 1, "lost": 1, "timed_out": 1}
        assert series.errors == {"E": 1}
        assert series.duration.count == 2
        assert series.duration.counts[2] >= 1
        assert series.queue_time.counts[1] == 1
        assert series.queue_time.sum == 0.06
        command = totals.commands[0]
        assert command.command == RUNS["p1"]
        assert command.runs == {"completed": 1}
        assert command.jobs_finished == {"completed": 1, "lost": 1, "timed_out": 1}
        assert command.last_run_failed is False
        assert command.run_duration.counts[3] == 1
        assert command.drain_duration.count == 1
        assert command.last_success == command.last_end == NOW_MS / 1000
        assert (command.running, command.oldest_running_start) == (0, None)
        assert totals.transitions == 6
        assert totals.lag is not None
        assert totals.label_values["error_type"] == 1


def test_meta_tells_whether_the_store_is_readable(store: RedisServer) -> None:
    with store.client() as client:
        reader = Reader(client, Settings())
        assert (reader.meta().schema, reader.meta().readable) == (0, True)
        version = Writer(client, Settings()).apply([run("r", "running")]).version
        assert (reader.meta().schema, reader.meta().version) == (1, version)
        client.hset(KEYS.meta, "schema", 2)
        assert reader.meta().readable is False


def test_attempts_are_listed_oldest_first(store: RedisServer) -> None:
    with store.client() as client:
        writer, reader = Writer(client, Settings()), Reader(client, Settings())
        for attempt in range(1, 26):
            writer.apply(
                [
                    transition("p1", "a", Status.RETRYING, attempt),
                    transition("m", "n", Status.RETRYING, attempt),
                ]
            )
        for process_id, job_id in (("p1", "a"), ("m", "n")):
            numbers = [json.loads(one)["attempt"] for one in reader.attempts(process_id, job_id)]
            assert numbers == list(range(5, 25))
        assert reader.attempts("p1", "nobody") == []
