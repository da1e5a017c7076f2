"""What a pass makes of runs and jobs, however often, late or odd they come."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from jobmon.history import database
from jobmon.history.commit import Committer, DatabaseRefusesError
from jobmon.history.copying import LeaseLostError
from jobmon.history.fence import FencedError
from jobmon.history.schema import tables
from jobmon.history.sync import Sync, count
from jobmon.history.write import Batch, History
from jobmon.model import STATUS_OF, Outcome, Stage, Status, Transition
from jobmon.settings import load
from jobmon.store import connection
from jobmon.store.dead_letters import DeadLetters
from jobmon.store.identity import Identity
from jobmon.store.keys import SYNC
from jobmon.store.lease import Lease
from tests.conftest import RedisServer
from tests.databases import Database, made
from tests.history.copied import Copies, copies
from tests.serving import Recorded, Run

TABLES = ("command_metrics", "job_metrics", "job_attempts", "failed_jobs")
OWN = tables("")


@pytest.fixture
def sqlite(tmp_path: Any) -> Any:
    """For what is no matter of the database."""
    with made("sqlite", tmp_path) as one:
        yield one


def everything(history: Copies) -> dict[str, list[dict[str, Any]]]:
    return {name: history.rows(name) for name in TABLES}


def again(
    run: Run, job_id: str, outcome: Outcome | None = None, attempt: int = 2, **more: Any
) -> Transition:
    """A later attempt, published or ended."""
    if outcome is None:
        made = run.transition(job_id, Status.PENDING, Stage.ENQUEUED, **more)
    else:
        made = run.transition(job_id, STATUS_OF[outcome], Stage.ENDED, outcome, **more)
    return made._replace(attempt=attempt)


def key(run: Run) -> str:
    return f"jobmon:command:metrics:{run.command}:{run.id}"


def sizes(engine: sa.Engine) -> list[int]:
    """Rows of each transaction from now on, as the driver is told."""
    found: list[int] = [0]

    def executed(_c: Any, _cursor: Any, statement: str, values: Any, _x: Any, many: bool) -> None:
        if statement.startswith(("INSERT INTO job_", "INSERT INTO command_", "DELETE")):
            found[-1] += len(values) if many else 1

    sa.event.listen(engine, "before_cursor_execute", executed)
    sa.event.listen(engine, "commit", lambda _connection: found.append(0))
    return found


def test_more_rows_than_are_worth_a_statement_each(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    runs = [recorded.run(f"data:{at}") for at in range(60)]
    for at, run in enumerate(runs):
        ids = run.jobs(at % 7, Outcome.COMPLETED, seconds=0.25)
        recorded.write(*[again(run, one, Outcome.COMPLETED) for one in ids[:3]])
        run.end()
    with copies(store, own_database) as history:
        report = history.sync()
        found = everything(history)
        history.client.zadd("jobmon:unsynced", {key(run): 1 for run in runs})
        history.sync()
        assert everything(history) == found
    assert (report.runs, report.skipped, report.errors) == (60, 0, [])
    assert report.jobs == len(found["job_metrics"]) == sum(at % 7 for at in range(60))
    assert len(found["job_attempts"]) == sum(min(3, at % 7) for at in range(60))
    for row in found["command_metrics"]:
        own = [job for job in found["job_metrics"] if job["process_id"] == row["process_id"]]
        assert row["job_count"] == row["success_jobs"] == len(own)
        assert row["retried_jobs"] == min(3, len(own))
        if own:
            assert row["total_time"] == pytest.approx(sum(job["execution_time"] for job in own))


def test_attempts_that_others_followed_are_rows_of_their_own(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    (job_id,) = run.jobs(1, Outcome.FAILED, seconds=0.1, worker="first")
    recorded.write(again(run, job_id, Outcome.RETRIED, seconds=0.2, worker="second"))
    recorded.write(again(run, job_id, Outcome.COMPLETED, 3, seconds=0.3))
    with copies(store, own_database) as history:
        history.sync()
        (job,) = history.rows("job_metrics")
        attempts = sorted(history.rows("job_attempts"), key=lambda row: row["attempt"])
        (row,) = history.rows("command_metrics")
    assert (job["attempts"], job["status"], job["execution_time"]) == (3, "success", 0.3)
    assert [(one["attempt"], one["status"], one["worker"]) for one in attempts] == [
        (1, "failed", "first"),
        (2, "retrying", "second"),
    ]
    assert (row["job_count"], row["retried_jobs"], row["failed_jobs"]) == (1, 1, 0)


def test_a_job_that_a_person_runs_again_leaves_until_it_has_ended(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    (job_id,) = run.jobs(1, Outcome.FAILED)
    run.end()
    with copies(store, own_database) as history:
        history.sync()
        history.copy_failures()
        assert [row["uuid"] for row in history.rows("failed_jobs")] == [job_id]
        recorded.write(again(run, job_id))
        history.sync()
        history.copy_failures()
        assert history.rows("job_metrics") == history.rows("failed_jobs") == []
        (row,) = history.rows("command_metrics")
        assert (row["job_count"], row["failed_jobs"], row["retried_jobs"]) == (1, 0, 1)
        recorded.write(again(run, job_id, Outcome.COMPLETED))
        history.sync()
        (job,) = history.rows("job_metrics")
        (row,) = history.rows("command_metrics")
    assert (job["status"], job["attempts"]) == ("success", 2)
    assert (row["success_jobs"], row["failed_jobs"]) == (1, 0)


def test_a_job_taken_for_lost_that_turns_up_is_what_it_is(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    back, gone = run.jobs(2, Outcome.LOST)
    with copies(store, own_database) as history:
        history.sync()
        history.copy_failures()
        assert {row["outcome"] for row in history.rows("job_metrics")} == {"lost"}
        (row,) = history.rows("command_metrics")
        assert (row["failed_jobs"], row["lost_jobs"]) == (2, 2)
        recorded.write(run.ended(back))
        history.sync()
        history.copy_failures()
        assert {row["job_id"]: row["outcome"] for row in history.rows("job_metrics")} == {
            back: "completed",
            gone: "lost",
        }
        (row,) = history.rows("command_metrics")
        assert (row["success_jobs"], row["failed_jobs"], row["lost_jobs"]) == (1, 1, 1)
        assert [row["uuid"] for row in history.rows("failed_jobs")] == [gone]


def test_a_revoked_job_counts_for_its_run_and_has_no_row(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED)
    (revoked,) = run.jobs(1, Outcome.REVOKED)
    with copies(store, own_database) as history:
        assert history.sync().jobs == 2
        (row,) = history.rows("command_metrics")
        assert (row["job_count"], row["revoked_jobs"]) == (3, 1)
        recorded.write(again(run, revoked, Outcome.COMPLETED))
        history.sync()
        assert len(history.rows("job_metrics")) == 3
        recorded.write(again(run, revoked, Outcome.REVOKED, 3))
        history.sync()
        assert len(history.rows("job_metrics")) == 2


def test_jobs_without_a_run_have_rows_without_one(
    recorded: Recorded, store: RedisServer, own_database: Database
) -> None:
    run = recorded.run("manual-dispatch")
    with recorded.client() as client:
        client.flushall()
    recorded.write(run.ended("a/b")._replace(manual=True))
    with copies(store, own_database) as history:
        history.sync()
        (job,) = history.rows("job_metrics")
        assert (job["job_id"], job["process_id"]) == ("a/b", run.id)
        assert history.rows("command_metrics") == []


class TestPartial:
    """A run of which a part has expired."""

    def test_what_comes_after_it_expired_is_added_to_what_was_copied(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run(host="h")
        run.jobs(3, Outcome.COMPLETED, seconds=0.5)
        run.jobs(2, Outcome.FAILED, seconds=0.25)
        (late,) = run.jobs(1)
        run.end()
        with copies(store, own_database) as history:
            history.sync()
            for expired in history.client.scan_iter(f"*{run.id}*"):
                history.client.delete(expired)
            recorded.write(run.ended(late))
            history.sync()
            (row,) = history.rows("command_metrics")
        assert (row["job_count"], row["success_jobs"], row["failed_jobs"]) == (6, 4, 2)
        assert row["total_time"] == pytest.approx(3 * 0.5 + 2 * 0.25 + 0.42)
        assert (row["partial"], row["status"], row["host"]) == (True, "completed", "h")

    def test_what_expired_before_it_was_copied_is_counted_and_stops_nobody(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        gone, kept = recorded.run("gone"), recorded.run("kept")
        for run in (gone, kept):
            run.jobs(3, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            for expired in history.client.scan_iter(f"*{gone.id}*"):
                history.client.delete(expired)
            report = history.sync()
            assert (report.runs, report.jobs, report.skipped) == (1, 3, 1)
            assert history.client.hget("jobmon:totals:recorder", "expired_unsynced") == b"1"
            assert history.sync().skipped == 0


NESTED: Any = []
for _ in range(400):
    NESTED = [NESTED]

HOSTILE_RECORDS = {
    "empty": b"",
    "cut off": b'{"status":"completed","attempt":1,"x"',
    "no object": b"[]",
    "no text": b"\xff\xfe\xfd",
    "of 1 MiB": b'{"status":"completed","attempt":1,"queue":"' + b"x" * 1024 * 1024 + b'"}',
    "nested": b'{"status":"completed","attempt":1,"x":' + b"[" * 15_000 + b"}",
    "newer": b'{"status":"completed","attempt":1,"v":2}',
    "of no version": b'{"status":"completed","attempt":1,"v":"1"}',
    "status list": b'{"status":[],"attempt":1}',
    "status object": b'{"status":{"a":1},"attempt":1}',
    "attempt text": b'{"status":"completed","attempt":"1"}',
    "attempt huge": b'{"status":"completed","attempt":99999999999}',
    "attempt true": b'{"status":"completed","attempt":true}',
    "NaN": b'{"status":"completed","attempt":1,"execution_time":NaN}',
    "infinite": b'{"status":"completed","attempt":1,"execution_time":1e999}',
    "negative": b'{"status":"completed","attempt":1,"queue_time":-0.5}',
    "far": b'{"status":"completed","attempt":1,"finished_at":1e18}',
    "memory": b'{"status":"completed","attempt":1,"memory_usage":18446744073709551616}',
    "digits": b'{"status":"completed","attempt":1,"memory_usage":' + b"9" * 5000 + b"}",
    "queue": b'{"status":"completed","attempt":1,"queue":{"a":["b"]}}',
    "outcome": b'{"status":"completed","attempt":1,"outcome":["completed"]}',
    "error": b'{"status":"failed","attempt":1,"error":"ValueError"}',
}
ODD_RECORDS = {
    "NUL": {"queue": "a\0b", "class": "\0"},
    "surrogates": {"queue": "\ud800x\udfff", "error": {"message": "\udc80"}},
    "long": {"queue": "q" * 5000, "class": "\U0001f600" * 500, "app": "a" * 500},
    "NaN in arguments": {"arguments": {"args": [float("nan"), float("inf")]}},
    "nested arguments": {"arguments": NESTED, "error": {"frames": [{"file": NESTED, "line": 1}]}},
    "nothing": {},
    "nulls": {"queue": None, "error": None, "execution_time": None, "attempt": 1},
}


class TestHostile:
    """Whoever may write to Redis may write anything."""

    def test_records_that_cannot_be_read_are_set_aside_alone(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run()
        bad = dict(
            zip(
                run.jobs(len(HOSTILE_RECORDS), Outcome.FAILED),
                HOSTILE_RECORDS.values(),
                strict=True,
            )
        )
        good = set(run.jobs(3, Outcome.COMPLETED))
        run.end()
        with copies(store, own_database) as history:
            for job_id, record in bad.items():
                history.client.hset(f"jobmon:command:{run.id}:jobs", job_id, record)
            dry = count(history.client, history.settings)
            report = history.sync()
            assert {row["job_id"] for row in history.rows("job_metrics")} == good
            assert len(history.rows("command_metrics")) == 1
            assert (report.jobs, report.skipped, report.errors) == (3, len(bad), [])
            assert (dry.jobs, dry.skipped, dry.runs) == (3, len(bad), 1)
            letters = DeadLetters(history.client, history.settings).read(1000)
            assert {one.job_id for one in letters} == set(bad)
            assert all(one.reason for one in letters)
            assert history.client.zcard("jobmon:unsynced") == 0
            copied = history.copy_failures()
            assert copied.set_aside > 0
            assert history.client.zcard("jobmon:failures") == 0

    def test_records_that_are_only_odd_are_copied(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run()
        ids = run.jobs(len(ODD_RECORDS), Outcome.FAILED)
        with copies(store, own_database) as history:
            for job_id, members in zip(ids, ODD_RECORDS.values(), strict=True):
                record = json.dumps({"status": "failed", "attempt": 1, **members})
                history.client.hset(f"jobmon:command:{run.id}:jobs", job_id, record)
            report = history.sync()
            assert (report.jobs, report.skipped) == (len(ids), 0)
            assert history.copy_failures() == (len(ids), 0, 0)
            rows = {row["uuid"]: row for row in history.rows("failed_jobs")}
            for row in rows.values():
                json.loads(row["payload"], parse_constant=pytest.fail)
            named = dict(zip(ODD_RECORDS, ids, strict=True))
            assert rows[named["NUL"]]["queue"] == "a\ufffdb"
            assert rows[named["surrogates"]]["queue"] == "?x?"

    @pytest.mark.parametrize(
        "fields",
        [
            {"run": "{"},
            {"run": '{"v":9}'},
            {"status": "finished"},
            {"job_count": "-1"},
            {"job_count": "1e3"},
            {"job_count": "9" * 19},
            {"peak_memory": "9999999999999999999"},
            {"total_job_time": "nan"},
            {"started_at": "1e300"},
            {"exit_code": "²"},
            {"exit_code": "--1"},
            {"run": '{"pid":"1"}'},
            {"run": '{"duration":[]}'},
        ],
        ids=str,
    )
    def test_a_run_that_cannot_be_read_is_set_aside_and_its_jobs_are_copied(
        self, recorded: Recorded, store: RedisServer, sqlite: Database, fields: dict[str, str]
    ) -> None:
        bad, good = recorded.run("bad"), recorded.run("good")
        for run in (bad, good):
            run.jobs(2, Outcome.COMPLETED)
        with copies(store, sqlite) as history:
            history.client.hset(key(bad), mapping=fields)
            report = history.sync()
            assert [row["command_name"] for row in history.rows("command_metrics")] == ["good"]
            assert len(history.rows("job_metrics")) == 4
            assert (report.runs, report.jobs, report.skipped) == (1, 4, 1)
            (letter,) = DeadLetters(history.client, history.settings).read()
            assert (letter.process_id, letter.job_id, letter.command) == (bad.id, None, "bad")

    def test_a_run_of_two_names_is_one_row_and_its_jobs_are_copied_once(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        """Both marks lead to one list of jobs, and to rows of one key in one batch."""
        run = recorded.run("first")
        run.jobs(60, Outcome.COMPLETED)
        run.command = "second"
        run.jobs(60, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            report = history.sync()
            assert (report.skipped, report.errors) == (0, [])
            assert len(history.rows("job_metrics")) == 120
            assert len(history.rows("command_metrics")) == 1
            assert history.client.zcard("jobmon:unsynced") == 0

    def test_keys_and_marks_of_any_kind(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        runs = [recorded.run(f"data:{at}") for at in range(3)]
        for run in runs:
            run.jobs(2, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            client = history.client
            client.zadd("jobmon:unsynced", {b"\xff\x00": 1, "": 2, "/": 3, "a/b": 4, "x": 1e300})
            client.zadd("jobmon:failures", {b"\xff/\x00": 1, "none": 2, "a/b": 3})
            long_id = "j" * 300
            whole = b'{"status":"completed","attempt":1}'
            own = f"jobmon:command:{runs[0].id}"
            for odd in (long_id.encode(), b"n\x00l", b"\xff", b"n\xef\xbf\xbdl"):
                client.hset(f"{own}:jobs", odd, whole)
                client.rpush(f"{own}:unsynced", "5:1", odd)
            client.rpush(f"{own}:unsynced", *(["7:0"] * 5000), "zzz")
            client.delete(f"jobmon:command:{runs[1].id}:jobs")
            client.set(f"jobmon:command:{runs[1].id}:jobs", "text")
            report = history.sync()
            assert len(history.rows("command_metrics")) == 2
            jobs = [row for row in history.rows("job_metrics") if row["process_id"] == runs[2].id]
            assert len(jobs) == 2
            assert report.skipped >= 2
            assert client.zrange("jobmon:unsynced", 0, -1) == [b"x"]
            history.copy_failures()
            assert client.zcard("jobmon:failures") == 0

    @pytest.mark.parametrize("own_database", ["postgresql", "mysql"], indirect=True)
    def test_a_row_that_the_database_refuses_is_set_aside_alone(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run()
        run.jobs(120, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            own = f"jobmon:command:{run.id}"
            long_id = "j" * 300
            history.client.hset(f"{own}:jobs", long_id, b'{"status":"completed","attempt":1}')
            history.client.rpush(f"{own}:unsynced", "5:1", long_id)
            report = history.sync()
            assert (report.jobs, report.runs, report.skipped) == (120, 1, 1)
            assert len(report.errors) == 1
            assert len(history.rows("job_metrics")) == 120
            (letter,) = DeadLetters(history.client, history.settings).read()
            assert letter.job_id == long_id
            assert history.client.zcard("jobmon:unsynced") == 0

    def test_a_database_that_takes_nothing_costs_nothing(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        run = recorded.run()
        run.jobs(120, Outcome.FAILED)
        with copies(store, own_database) as history:
            with history.engine.begin() as connection:
                OWN.job_metrics.drop(connection)
                OWN.failed_jobs.drop(connection)
            for copy in (history.sync, history.copy_failures):
                with pytest.raises(DatabaseRefusesError, match=r"the database refused: .*job"):
                    copy()
            assert DeadLetters(history.client, history.settings).size() == 0
            with history.engine.begin() as connection:
                OWN.job_metrics.create(connection)
                OWN.failed_jobs.create(connection)
            assert history.sync().jobs == 120
            assert history.copy_failures() == (120, 0, 0)

    def test_a_dead_letter_that_is_put_right_is_copied_once_it_is_requeued(
        self, recorded: Recorded, store: RedisServer, sqlite: Database
    ) -> None:
        run = recorded.run()
        (job_id,) = run.jobs(1, Outcome.COMPLETED)
        run.end()
        with copies(store, sqlite) as history:
            jobs = f"jobmon:command:{run.id}:jobs"
            whole = history.client.hget(jobs, job_id)
            history.client.hset(jobs, job_id, b"x" + whole)
            history.sync()
            letters = DeadLetters(history.client, history.settings)
            assert letters.requeue() == 1
            assert history.sync().skipped == 1
            history.client.hset(jobs, job_id, whole)
            assert letters.requeue() == 1
            assert history.sync().jobs == 1
            assert letters.size() == 0
            assert [row["job_id"] for row in history.rows("job_metrics")] == [job_id]


class TestBounds:
    """How much is written at once, and when it is enough."""

    @pytest.mark.parametrize("size", [1, 7, 50])
    def test_no_transaction_has_more_rows_than_a_batch_and_the_attempts_of_one_job(
        self, recorded: Recorded, store: RedisServer, sqlite: Database, size: int
    ) -> None:
        run = recorded.run()
        ids = run.jobs(30, Outcome.FAILED)
        for attempt in (2, 3):
            recorded.write(*[again(run, one, Outcome.FAILED, attempt) for one in ids])
        with copies(store, sqlite) as history:
            found = sizes(history.engine)
            history.sync(batch_size=size)
            assert sum(found) == 30 * 3 + 1
            assert max(found) < size + 3

    @pytest.mark.parametrize(
        ("setting", "why"), [("timeout_seconds", "have passed"), ("max_memory_mb", "MiB more")]
    )
    def test_a_pass_that_takes_too_much_ends_after_a_whole_batch_and_the_next_goes_on(
        self, recorded: Recorded, store: RedisServer, sqlite: Database, setting: str, why: str
    ) -> None:
        # Ten jobs came in one call, and are settled together.
        batch_size, most = (4, 12)
        for at in range(3):
            recorded.run(f"data:{at}").jobs(10, Outcome.COMPLETED)
        with copies(store, sqlite) as history:
            usual = history.settings
            less = dataclasses.replace(usual.sync, **{setting: -1})
            history.settings = dataclasses.replace(usual, sync=less)
            jobs = passes = 0
            while (report := history.sync(batch_size=batch_size)).stopped:
                assert why in report.stopped
                assert 0 < report.jobs + report.runs <= most
                assert len(history.rows("job_metrics")) >= jobs
                jobs = len(history.rows("job_metrics"))
                passes += 1
            assert passes >= 2
            assert len(history.rows("job_metrics")) == 30
            assert len(history.rows("command_metrics")) == 3

    def test_a_pass_that_is_asked_to_stop_ends_after_its_batch(
        self, recorded: Recorded, store: RedisServer, sqlite: Database
    ) -> None:
        recorded.run().jobs(10, Outcome.COMPLETED)
        with copies(store, sqlite) as history:
            stop = threading.Event()
            writing = History(history.engine, OWN, SYNC, str)
            committer = Committer(writing, history.settings, stop)
            sync = Sync(
                *(history.client, committer, history.settings, stop),
                progress=lambda report: stop.set() if report.jobs >= 4 else None,
            )
            token = Lease(history.client, history.settings, SYNC).acquire()
            assert token is not None
            report = sync.run(token, batch_size=2)
            assert (report.jobs, report.stopped) == (4, "it was asked to stop")
            assert len(history.rows("job_metrics")) == 4


class TestFenced:
    """A holder that was frozen, and wakes after another has taken over."""

    def late(self, history: Copies, token: int) -> None:
        stop = threading.Event()
        identity = Identity(history.client, history.settings)
        writing = History(history.engine, OWN, SYNC, identity)
        committer = Committer(writing, history.settings, stop)
        Sync(history.client, committer, history.settings, stop).run(token)

    def test_it_changes_neither_rows_nor_marks_nor_dead_letters(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        first, second = recorded.run("first"), recorded.run("second")
        first.jobs(3, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            lease = Lease(history.client, history.settings, SYNC)
            old = lease.acquire()
            assert old is not None
            lease.release(old)  # as it ends by itself
            history.sync()
            (bad,) = second.jobs(1, Outcome.COMPLETED)
            second.jobs(3, Outcome.COMPLETED)
            history.client.hset(f"jobmon:command:{second.id}:jobs", bad, "{")
            found = everything(history)
            marked = history.client.zrange("jobmon:unsynced", 0, -1, withscores=True)
            with pytest.raises(FencedError):
                self.late(history, old)
            assert everything(history) == found
            assert history.client.zrange("jobmon:unsynced", 0, -1, withscores=True) == marked
            assert DeadLetters(history.client, history.settings).size() == 0
            assert history.sync().jobs == 3

    def test_before_its_successor_has_written_it_may_write_rows_but_clears_no_mark(
        self, recorded: Recorded, store: RedisServer, own_database: Database
    ) -> None:
        recorded.run().jobs(3, Outcome.COMPLETED)
        with copies(store, own_database) as history:
            lease = Lease(history.client, history.settings, SYNC)
            old = lease.acquire()
            assert old is not None
            lease.release(old)
            token = lease.acquire()
            assert token is not None
            marked = history.client.zrange("jobmon:unsynced", 0, -1, withscores=True)
            with pytest.raises(LeaseLostError):
                self.late(history, old)
            assert history.client.zrange("jobmon:unsynced", 0, -1, withscores=True) == marked
            lease.release(token)
            found = everything(history)
            assert history.sync().jobs == 3
            assert everything(history) == found


def test_what_an_error_says_is_known_for_each_database(own_database: Database) -> None:
    with own_database.engine() as engine, engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError) as raised:
            connection.exec_driver_sql("SELECT nonsense FROM nowhere")
    assert not database.is_of_the_row(raised.value)
    assert not database.is_away(raised.value)


def test_stores_that_share_a_database_do_not_fence_off_each_other(
    store: RedisServer, own_redis_server: RedisServer, own_database: Database
) -> None:
    with copies(store, own_database) as one, copies(own_redis_server, own_database) as other:
        histories: list[tuple[History, int]] = []
        for history in (one, other):
            token = Lease(history.client, history.settings, SYNC).acquire()
            assert token is not None
            identity = Identity(history.client, history.settings)
            histories.append((History(history.engine, OWN, SYNC, identity), token))
        assert histories[0][1] < histories[1][1]
        for _ in range(2):
            for history, token in histories:
                history.write(token, Batch())


def test_a_store_keeps_its_identity_until_it_loses_all(store: RedisServer) -> None:
    settings = load({"redis.url": store.url}, environ={})
    with connection.connect(settings) as client:
        first, again = Identity(client, settings), Identity(client, settings)
        assert len(first()) == 32
        assert first() == again() == first()
        before = first()
        client.flushall()
        assert first() != before
