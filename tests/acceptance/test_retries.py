"""Acceptance lines of failed jobs: run again, deleted, all of a run; with a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import RedisServer
from tests.databases import made
from tests.live import rq_fixtures
from tests.live.celery_fixtures import Producer, Run, Worker, celery_worker, wait_for
from tests.retry.failing import failure
from tests.serving import (
    OPERATE,
    PREFIX,
    READ,
    TOKENS,
    Recorded,
    Served,
    bearer,
    environment,
    until,
)

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_messages"
NAMES = iter(range(1_000_000))
DISPATCHED = "Retry command dispatched for all failed jobs."


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with made("sqlite", tmp_path_factory.mktemp("failed")) as database:
        yield database.url


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("worker")
    with celery_worker(redis_server, folder, app=APP, C_FORCE_ROOT="1") as running:
        yield running


@pytest.fixture(scope="module")
def server(redis_server: RedisServer, worker: Worker, database_url: str) -> Iterator[Served]:
    with Served(
        redis_server.url,
        "--no-schedule",
        DATABASE_URL=database_url,
        AUTH_TOKENS=TOKENS,
        CELERY_BROKER_URL=broker(redis_server),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def producer(redis_server: RedisServer, worker: Worker) -> Iterator[Producer]:
    found = Producer(redis_server, APP)
    yield found
    found.close()


def broker(server: RedisServer) -> str:
    return f"{server.url.rsplit('/', 1)[0]}/1"


def post(server: Served, path: str, verb: str = "POST", token: str = OPERATE) -> httpx.Response:
    return server.client.request(verb, f"{PREFIX}/{path}", headers=bearer(token))


def failed(server: Served, producer: Producer, number: int = 1) -> Run:
    """A run of that many jobs, each of which fails once, once they are in the table."""
    names = [f"a{next(NAMES)}" for _ in range(number)]
    before = total(server)
    run, _ = producer.command(
        f"import celery\ncelery.group(once.s(n, 'raise') for n in {names!r}).delay()"
    )
    run.reached(number, {"failed"})
    until(lambda: total(server) == before + number)
    return run


def total(server: Served) -> int:
    answer = server.get("stats", headers=bearer(READ))
    return answer.json()["data"]["total_failed"]


def rows(database_url: str, **options: str) -> list[dict[str, Any]]:
    asked = [word for name, value in options.items() for word in (f"--{name}", value)]
    said = cli(database_url, "failed", "--format", "json", *asked)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def cli(database_url: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", *words],
        env=environment(DATABASE_URL=database_url, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_s48_a_retried_job_waits_again_under_its_id_and_its_row_is_gone(
    server: Served, producer: Producer, database_url: str
) -> None:
    run = failed(server, producer)
    job_id = run.one()["id"]
    (row,) = rows(database_url, run=run.process_id)
    answer = post(server, f"jobs/failed/{row['id']}/retry")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "success", "message": f"Job [{row['id']}] has been pushed back onto the queue."},
    )
    assert rows(database_url, run=run.process_id) == []
    again = post(server, f"jobs/failed/{row['id']}/retry")
    assert (again.status_code, again.json()) == (
        404,
        {
            "status": "error",
            "message": f"Could not retry job [{row['id']}]. It may no longer exist.",
        },
    )
    run.reached(1, {"completed"})
    record = run.one()
    assert (record["id"], record["attempt"], record["retried_by"]) == (job_id, 2, "ben")
    assert record["retried_at"] <= record["started_at"]
    run.check_counters()
    assert run.attempts(job_id)[0]["status"] == "failed"


def test_s48_a_retried_job_of_rq_waits_again_too(
    redis_server: RedisServer, server: Served, tmp_path: Path
) -> None:
    before = total(server)
    with rq_fixtures.rq_worker(redis_server, tmp_path):
        body = "queue.enqueue(jobs.flaky, 1)"
        run = Run(redis_server, rq_fixtures.command(redis_server, body))
        job_id = run.reached(1, {"failed"}).popitem()[0]
        until(lambda: total(server) == before + 1)
        answer = post(server, f"jobs/failed/{job_id}/retry")
        assert answer.json()["message"] == f"Job [{job_id}] has been pushed back onto the queue."
        (record,) = run.reached(1, {"completed"}).values()
    assert (record["id"], record["attempt"], record["retried_by"]) == (job_id, 2, "ben")


def test_s49_a_job_is_named_by_its_own_id_too(server: Served, producer: Producer) -> None:
    run = failed(server, producer)
    job_id = run.one()["id"]
    answer = post(server, f"jobs/failed/{job_id}/retry")
    assert answer.json()["message"] == f"Job [{job_id}] has been pushed back onto the queue."
    run.reached(1, {"completed"})


def test_s50_twenty_parallel_retries_push_one_message(server: Served, producer: Producer) -> None:
    run = failed(server, producer)
    job_id = run.one()["id"]
    with ThreadPoolExecutor(20) as pool:
        codes = list(
            pool.map(lambda _: post(server, f"jobs/failed/{job_id}/retry").status_code, range(20))
        )
    assert sorted(codes) == [200] + [404] * 19
    run.reached(1, {"completed"})
    assert run.one()["attempt"] == 2


def test_s51_without_a_broker_a_retry_says_so_and_the_row_stays(
    redis_server: RedisServer, server: Served, producer: Producer, database_url: str
) -> None:
    run = failed(server, producer)
    (row,) = rows(database_url, run=run.process_id)
    nowhere = "redis://127.0.0.1:1/0"
    with Served(
        redis_server.url, "--no-schedule", DATABASE_URL=database_url, CELERY_BROKER_URL=nowhere
    ) as other:
        answer = post(other, f"jobs/failed/{row['id']}/retry")
        assert (answer.status_code, answer.json()["message"]) == (
            503,
            f"Could not retry job [{row['id']}]. The queue is unavailable.",
        )
    assert rows(database_url, run=run.process_id) == [row]
    assert post(server, f"jobs/failed/{row['id']}/retry").status_code == 200
    run.reached(1, {"completed"})


def test_s52_a_failed_job_is_deleted_once_and_the_history_of_its_run_stays(
    server: Served, producer: Producer, database_url: str
) -> None:
    run = failed(server, producer)
    (row,) = rows(database_url, run=run.process_id)
    before = run.jobs(), run.counters()
    answer = post(server, f"jobs/failed/{row['id']}", "DELETE")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "success", "message": f"Job [{row['id']}] has been deleted."},
    )
    again = post(server, f"jobs/failed/{row['id']}", "DELETE")
    assert (again.status_code, again.json()["message"]) == (
        404,
        f"Could not delete job [{row['id']}]. It may no longer exist.",
    )
    assert (run.jobs(), run.counters()) == before


def pushed(server: Served, process_id: str) -> dict[str, Any]:
    """What became of a request, once it has been fulfilled."""

    def progress() -> dict[str, Any]:
        path = f"commands/{process_id}/retry-failed"
        return server.get(path, headers=bearer(READ)).json()["data"]

    wait_for(lambda: progress()["finished_at"], "all are pushed", 120)
    return progress()


def test_s57_all_failed_jobs_of_a_run_are_pushed_once(server: Served, producer: Producer) -> None:
    run = failed(server, producer, 3)
    answer = post(server, f"commands/{run.process_id}/retry-failed")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "success", "message": DISPATCHED},
    )
    post(server, f"commands/{run.process_id}/retry-failed")
    left = pushed(server, run.process_id)
    assert (left["refused"], left["remaining"], left["error"]) == (0, 0, None)
    jobs = run.reached(3, {"completed"})
    assert {job["attempt"] for job in jobs.values()} == {2}
    run.check_counters()
    none = post(server, f"commands/{run.process_id}/retry-failed")
    assert (none.status_code, none.json()["message"]) == (
        404,
        "No failed jobs found for this command.",
    )


def test_s57_five_thousand_are_pushed_once_while_nobody_waits(
    redis_server: RedisServer, server: Served
) -> None:
    recorded = Recorded(redis_server)
    run = recorded.run()
    before = total(server)
    ids = [str(uuid.uuid4()) for _ in range(5000)]
    recorded.write(*(failure(run, job_id, queue="nobody") for job_id in ids))
    recorded.close()
    until(lambda: total(server) == before + 5000, 60)
    began = time.monotonic()
    answer = post(server, f"commands/{run.id}/retry-failed")
    assert time.monotonic() - began < 2
    assert answer.json() == {"status": "success", "message": DISPATCHED}
    left = pushed(server, run.id)
    assert (left["requested"], left["pushed"], left["remaining"]) == (5000, 5000, 0)
    assert total(server) == before
    with redis_server.client(db=1) as client:
        waiting = [json.loads(raw)["headers"]["id"] for raw in client.lrange("nobody", 0, -1)]
    assert sorted(waiting) == sorted(ids)


def test_s57_a_run_without_failed_jobs_is_not_found(server: Served) -> None:
    answer = post(server, f"commands/{uuid.uuid4()}/retry-failed")
    assert (answer.status_code, answer.json()["message"]) == (
        404,
        "No failed jobs found for this command.",
    )


def test_s78_the_cli_says_what_the_api_says(
    redis_server: RedisServer,
    server: Served,
    producer: Producer,
    database_url: str,
    tmp_path: Path,
) -> None:
    given = {"REDIS_URL": redis_server.url, "CELERY_BROKER_URL": broker(redis_server)}
    said = cli(database_url, "retry", "999", **given)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "Could not retry job [999]. It may no longer exist.\n"
    run = failed(server, producer)
    (row,) = rows(database_url, run=run.process_id)
    said = cli(database_url, "retry", str(row["id"]), **given)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"Job [{row['id']}] has been pushed back onto the queue.\n"
    run.reached(1, {"completed"})
    said = cli(database_url, "failed", "delete", str(row["id"]), **given)
    assert said.returncode == 1
    assert said.stderr == f"Could not delete job [{row['id']}]. It may no longer exist.\n"


def test_a_reader_changes_nothing(server: Served) -> None:
    for verb, path in (
        ("POST", "jobs/failed/1/retry"),
        ("DELETE", "jobs/failed/1"),
        ("POST", f"commands/{uuid.uuid4()}/retry-failed"),
    ):
        assert post(server, path, verb, READ).status_code == 403
