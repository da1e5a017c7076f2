"""Who is taken for lost, when nobody is, and that it happens once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobmon.model import Beat, RunTransition, Stage, Status, Transition
from jobmon.settings import Settings
from jobmon.store.beats import Beats
from jobmon.store.connection import connect
from jobmon.store.keys import WRITER_RULES, Keys
from jobmon.store.reader import Reader
from jobmon.store.reaper import Reaped, Reaper
from jobmon.store.writer import Writer
from tests.conftest import RedisServer
from tests.store.histories import transition

KEYS = Keys("jobmon:")
SETTINGS = Settings()
SILENCE_MS = int(SETTINGS.reaper.lost_after_seconds * 1000)
LONG_MS = 10 * SILENCE_MS

Start = Callable[..., int]


@pytest.fixture
def reap(client: Any) -> Callable[[], Reaped]:
    """One pass, after somebody has listened for long."""
    client.flushall()
    reaper = Reaper(client, SETTINGS)
    assert reaper.reap() == Reaped()
    client.hincrby(KEYS.meta, "watched_since", -LONG_MS)
    return reaper.reap


def now_ms(client: Any) -> int:
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def start(client: Any, run_id: str, *, beats: bool = True, silent_ms: int = 0, **more: Any) -> int:
    """Start a run; gives its last beat."""
    at = now_ms(client) - 2 * LONG_MS
    members = {"id": run_id, "command": "nightly", "source": "console", "started_at": at / 1000}
    body = json.dumps(members | more).encode()
    run = RunTransition(run_id, "nightly", "running", "", at, 0, 0, body, beats)
    assert Writer(client, SETTINGS).apply([run]).applied == 1
    if beats:
        client.zadd(KEYS.run_beats, {run_id: now_ms(client) - silent_ms})
    return int(client.zscore(KEYS.run_beats, run_id) or 0)


def totals(client: Any) -> dict[str, int]:
    return {k.decode(): int(v) for k, v in client.hgetall(KEYS.command_totals).items()}


def test_a_run_whose_beats_stopped_is_lost_once_at_its_last_beat(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    last = start(client, "silent", silent_ms=SILENCE_MS + 1000, pid=7)
    start(client, "alive", silent_ms=SILENCE_MS - 5000)
    start(client, "without-beats", beats=False)
    assert reap() == Reaped(True, 1, 0)
    assert reap() == Reaped(True, 0, 0)
    reader = Reader(client, SETTINGS)
    assert {run.process_id for run in reader.running_commands()[0]} == {"alive", "without-beats"}
    [run] = reader.finished_commands()[0]
    assert (run.process_id, run.status, run.exit_code) == ("silent", "lost", -1)
    assert run.finished_at == pytest.approx(last / 1000)
    assert run.duration == pytest.approx(last / 1000 - (run.started_at or 0), abs=0.001)
    assert run.data["pid"] == 7
    counted = totals(client)
    assert counted["1:runs:lost"] == 1
    assert counted["1:last_end"] == last
    assert not client.zscore(KEYS.run_beats, "silent")


def test_many_silent_runs_are_found_in_as_many_passes_as_it_takes(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    for number in range(150):
        start(client, f"r{number}", silent_ms=LONG_MS + number)
    assert reap().runs + reap().runs == 150
    assert totals(client)["1:runs:lost"] == 150
    assert not client.exists(KEYS.run_beats)


def test_a_run_that_beats_between_finding_and_telling_is_not_lost(
    client: Any, reap: Callable[[], Reaped], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(client, "late", silent_ms=LONG_MS)
    applied = Writer.apply

    def apply(writer: Writer, batch: Any, *rest: Any) -> Any:
        assert Beats(client, SETTINGS).send([Beat("run", "late")]).taken == 1
        return applied(writer, batch, *rest)

    monkeypatch.setattr(Writer, "apply", apply)
    assert reap() == Reaped(True, 0, 0)
    assert client.hexists(KEYS.running, "late")


def test_beats_of_what_is_no_run_are_thrown_away(client: Any, reap: Callable[[], Reaped]) -> None:
    client.zadd(KEYS.run_beats, {"ended": 1, "odd": 1, "unnamed": 1})
    client.hset(KEYS.running, mapping={"odd": "[", "unnamed": '{"id":"x"}'})
    assert reap() == Reaped(True)
    assert not client.exists(KEYS.run_beats)


def worker(name: str, engine: str = "celery", **more: Any) -> Beat:
    body = json.dumps({"engine": engine, "name": name}, separators=(",", ":")).encode()
    return Beat("worker", name, body=body, **more)


def test_a_worker_whose_beats_stopped_is_lost_then_forgotten(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    beats = Beats(client, SETTINGS)
    silent = {"age_ms": SILENCE_MS + 1000}
    beats.send([worker("a", **silent), worker("b", "rq", **silent), worker("c")])
    beats.send([Beat("worker", "d", body=b"{}", **silent)])
    assert reap() == Reaped(True, 0, 3)
    assert reap() == Reaped(True, 0, 0)
    counted = client.hgetall(KEYS.recorder_totals)
    engines = ("celery", "rq", "other")
    assert [counted[f"workers_lost:{engine}".encode()] for engine in engines] == [b"1"] * 3
    assert set(client.zrange(KEYS.lost_workers, 0, -1)) == {b"a", b"b", b"d"}
    beats.send([worker("b", "rq")])  # it turned up
    client.zadd(KEYS.lost_workers, {"a": now_ms(client) - 599_000, "d": now_ms(client) - 601_000})
    assert reap() == Reaped(True)
    assert set(client.hkeys(KEYS.workers)) == {b"a", b"b", b"c"}
    assert client.zrange(KEYS.lost_workers, 0, -1) == [b"a"]
    assert set(client.zrange(KEYS.worker_beats, 0, -1)) == {b"a", b"b", b"c"}


@pytest.mark.parametrize("blind", ["never listened", "paused", "clock set back", "since too late"])
def test_nobody_is_judged_for_a_time_in_which_nobody_listened(
    blind: str, client: Any, reap: Callable[[], Reaped]
) -> None:
    start(client, "silent", silent_ms=LONG_MS)
    Beats(client, SETTINGS).send([worker("a", age_ms=LONG_MS)])
    pause_ms = SILENCE_MS // 4
    if blind == "never listened":
        client.hdel(KEYS.meta, "watched_since", "watched_at")
    elif blind == "paused":
        client.hincrby(KEYS.meta, "watched_at", -pause_ms - 1)
    elif blind == "clock set back":
        client.hset(KEYS.meta, "watched_at", now_ms(client) + 60_000)
    else:
        client.hset(KEYS.meta, "watched_since", now_ms(client) - SILENCE_MS + 5_000)
    assert reap() == Reaped()
    assert reap() == Reaped()
    assert now_ms(client) - int(client.hget(KEYS.meta, "watched_since")) < SILENCE_MS
    assert client.hexists(KEYS.running, "silent")
    assert not client.exists(KEYS.lost_workers)
    # A whole period later:
    client.hincrby(KEYS.meta, "watched_since", -SILENCE_MS)
    assert reap() == Reaped(True, 1, 1)


def test_a_short_pause_of_the_servers_does_not_begin_anew(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    start(client, "silent", silent_ms=LONG_MS)
    client.hincrby(KEYS.meta, "watched_at", -SILENCE_MS // 5)
    assert reap() == Reaped(True, 1, 0)


def test_servers_that_judge_at_once_count_once(
    client: Any, reap: Callable[[], Reaped], redis_server: RedisServer
) -> None:
    for number in range(60):
        start(client, f"r{number}", silent_ms=LONG_MS)
    Beats(client, SETTINGS).send([worker(f"w{n}", age_ms=LONG_MS) for n in range(60)])
    together = threading.Barrier(4)
    found: list[Reaped] = []

    def judge() -> None:
        with connect(replace(SETTINGS, redis=replace(SETTINGS.redis, url=url))) as own:
            reaper = Reaper(own, SETTINGS)
            together.wait()
            found.append(reaper.reap())

    url = f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"
    threads = [threading.Thread(target=judge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.runs for one in found) == sum(one.workers for one in found) == 60
    assert totals(client)["1:runs:lost"] == 60
    assert client.hget(KEYS.recorder_totals, "workers_lost:celery") == b"60"


def test_silence_is_never_shorter_than_four_beats(client: Any) -> None:
    slow = replace(SETTINGS, beats=replace(SETTINGS.beats, interval_seconds=300.0))
    assert Reaper(client, slow).silence_seconds == 1200
    assert Reaper(client, SETTINGS).silence_seconds == 300
    assert Reaper(client, SETTINGS).interval_seconds <= 10


def test_a_newer_store_is_left_alone(client: Any, reap: Callable[[], Reaped]) -> None:
    start(client, "silent", silent_ms=LONG_MS)
    client.hset(KEYS.meta, "schema", 99)
    before = client.hgetall(KEYS.meta)
    assert reap() == Reaped()
    assert client.hgetall(KEYS.meta) == before


def test_a_server_needs_no_more_rights_than_who_records(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    start(client, "silent", silent_ms=LONG_MS)
    client.execute_command(
        "ACL", "SETUSER", "recorder", "on", ">secret", "~jobmon:*", *WRITER_RULES.split()
    )
    port = client.connection_pool.connection_kwargs["port"]
    url = f"redis://recorder:secret@127.0.0.1:{port}/0"
    with connect(replace(SETTINGS, redis=replace(SETTINGS.redis, url=url))) as own:
        assert Reaper(own, SETTINGS).reap() == Reaped(True, 1, 0)


def job(process_id: str, job_id: str, worker: str, *, started_at: float, **more: Any) -> Transition:
    manual = process_id == job_id
    members = {
        "queue": "default",
        "class": "app.work",
        "command_name": "manual-dispatch" if manual else "nightly",
        "process_id": process_id,
        "engine": "celery",
        "worker": worker,
        "host": "web-1",
        "started_at": started_at,
        "v": 1,
    }
    body = json.dumps(members, separators=(",", ":")).encode()[1:]
    found = transition("p1", job_id, Status.PROCESSING, **more)
    return found._replace(
        process_id=process_id,
        command=members["command_name"],
        manual=manual,
        body=body,
        engine="celery",
        stages=int(Stage.ENQUEUED | Stage.STARTED),
        at_ms=int(started_at * 1000),
    )


def celery_worker(own_id: str, name: str, started_at: float, **more: Any) -> Beat:
    said = {"engine": "celery", "name": name, "hostname": "web-1", "started_at": started_at}
    return Beat("worker", own_id, body=json.dumps(said, separators=(",", ":")).encode(), **more)


def test_the_jobs_of_a_lost_worker_are_lost_and_those_of_others_are_not(
    client: Any, reap: Callable[[], Reaped]
) -> None:
    now = now_ms(client) / 1000
    start(client, "p1", beats=False)
    batch = [
        job("p1", "mine", "a", started_at=now - 900, attempt=2, delivery=77),
        job("p1", "ended", "a", started_at=now - 900),
        job("p1", "others", "b", started_at=now - 900),
        job("p1", "of-next", "a", started_at=now - 100),  # of the next worker of the same name
        job("alone", "alone", "a", started_at=now - 900),
    ]
    batch.append(transition("p1", "ended", Status.COMPLETED))
    writer = Writer(client, SETTINGS)
    assert writer.apply(batch).malformed == 0
    Beats(client, SETTINGS).send(
        [
            celery_worker("1", "a", now - 1000, age_ms=SILENCE_MS + 60_000),
            celery_worker("2", "a", now - 200),
            celery_worker("3", "b", now - 1000),
        ]
    )
    assert reap() == Reaped(True, 0, 1)
    reader = Reader(client, SETTINGS)
    records = {
        one: json.loads(reader.job("p1", one) or b"")
        for one in ("mine", "ended", "others", "of-next")
    }
    states = {name: record["status"] for name, record in records.items()}
    assert states == {
        "mine": "lost",
        "ended": "completed",
        "others": "processing",
        "of-next": "processing",
    }
    lost = records["mine"]
    assert (lost["attempt"], lost["outcome"], lost["error"]["class"]) == (2, "lost", "WorkerLost")
    assert lost["finished_at"] == pytest.approx(now - SILENCE_MS / 1000 - 60, abs=10)
    assert json.loads(reader.job("alone", "alone") or b"")["status"] == "lost"
    counters = reader.run_counters("p1", "nightly")
    assert counters is not None
    assert (counters.lost_jobs, counters.failed_jobs, counters.open_jobs) == (1, 1, 2)
    before = client.hgetall(KEYS.job_totals)
    assert reap() == Reaped(True)
    assert client.hgetall(KEYS.job_totals) == before
    # The broker delivers it again; then it is found to have completed after all.
    writer.apply([job("p1", "mine", "a", started_at=now, attempt=2, delivery=78)])
    assert json.loads(reader.job("p1", "mine") or b"")["status"] == "processing"
    assert reap() == Reaped(True)
    assert json.loads(reader.job("p1", "mine") or b"")["status"] == "processing"
