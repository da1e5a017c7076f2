"""Chains, groups, chords, callbacks: all jobs of a canvas are under the command that began it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from tests.conftest import RedisServer
from tests.live.celery_fixtures import Producer, Run, Worker, celery_worker, wait_for

pytestmark = pytest.mark.live

APP = "tests.live.apps.celery_canvas"
IMPORTS = "from celery import chain, chord, group, signature\n"


@pytest.fixture(scope="module")
def worker(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with redis_server.client() as client:
        client.flushall()
    with celery_worker(redis_server, tmp_path_factory.mktemp("canvas"), app=APP) as running:
        yield running
        assert "jobmon.instrument" not in running.log, running.log


@pytest.fixture(scope="module")
def producer(worker: Worker, redis_server: RedisServer) -> Iterator[Producer]:
    producer = Producer(redis_server, APP)
    yield producer
    producer.close()


def published(producer: Producer, body: str, number: int) -> Run:
    """The run of a command that publishes, once so many jobs have ended; its counters are right."""
    run, _ = producer.command(IMPORTS + body)
    jobs = run.ended(number)
    assert {job["process_id"] for job in jobs.values()} == {run.process_id}
    assert {job["command_name"] for job in jobs.values()} == {"data:process"}
    run.check_counters()
    return run


def by_start(run: Run) -> list[dict[str, Any]]:
    return sorted(run.jobs().values(), key=lambda job: job["started_at"])


def family(job: dict[str, Any]) -> tuple[str | None, str]:
    return job.get("parent_id"), job["root_id"]


def test_each_step_of_a_chain_is_the_child_of_the_one_before(producer: Producer) -> None:
    run = published(producer, "chain(add.s(1, 1), add.s(2), add.s(3)).delay()", 3)
    first, second, third = by_start(run)
    assert family(first) == (None, first["id"])
    assert family(second) == (first["id"], first["id"])
    assert family(third) == (second["id"], first["id"])
    assert not any("group_id" in job for job in (first, second, third))


def test_a_chain_ends_where_a_step_fails(producer: Producer) -> None:
    run = published(producer, "chain(add.s(1), fail.si('no'), add.si(1)).delay()", 2)
    assert [job["outcome"] for job in by_start(run)] == ["completed", "failed"]


def test_members_of_a_group_have_its_id_and_are_their_own_roots(producer: Producer) -> None:
    run, group_id = producer.command(
        IMPORTS + "sent = group(add.s(number) for number in range(3)).delay()", "sent.id"
    )
    jobs = run.ended(3).values()
    run.check_counters()
    assert {job["group_id"] for job in jobs} == {group_id}
    assert all(family(job) == (None, job["id"]) for job in jobs)


def test_the_body_of_a_chord_is_the_child_of_the_member_that_ended_last(
    producer: Producer,
) -> None:
    run = published(producer, "chord([add.s(1, 1), add.s(2, 2), add.s(3)])(total.s())", 4)
    members = run.named("add")
    (body,) = run.named("total")
    assert len({job["group_id"] for job in (*members, body)}) == 1  # Celery's word for a chord
    assert body["parent_id"] == body["root_id"]
    assert body["parent_id"] in {job["id"] for job in members}
    assert body["enqueued_at"] > max(job["started_at"] for job in members)


def test_a_chord_whose_member_fails_has_no_body(producer: Producer) -> None:
    run = published(
        producer,
        """chord([add.s(1), fail.s("no")])(total.s().on_error(report.s()))""",
        3,
    )
    assert sorted(job["class"].rpartition(".")[2] for job in by_start(run)) == [
        "add",
        "fail",
        "report",
    ]


def test_a_group_between_two_steps_is_a_chord_inside_of_the_chain(producer: Producer) -> None:
    run = published(producer, "chain(add.s(1), group(add.s(2), add.s(3)), total.s()).delay()", 4)
    first, *members = sorted(run.named("add"), key=lambda job: job["started_at"])
    (body,) = run.named("total")
    assert [family(job) for job in members] == [(first["id"], first["id"])] * 2
    assert body["parent_id"] in {job["id"] for job in members}
    assert body["root_id"] == first["id"]


def test_a_link_is_the_child_of_the_job_that_it_follows(producer: Producer) -> None:
    run = published(producer, "add.apply_async((1, 1), link=[add.s(5), total.si([1])])", 3)
    (first,) = [job for job in run.named("add") if "parent_id" not in job]
    others = [job for job in run.jobs().values() if job["id"] != first["id"]]
    assert [family(job) for job in others] == [(first["id"], first["id"])] * 2


def test_errbacks_of_both_styles_belong_to_the_job_that_failed(producer: Producer) -> None:
    run = published(producer, "fail.apply_async(('no',), link_error=[report.s(), explain.s()])", 3)
    (failed,) = run.named("fail")
    assert failed["status"] == "failed"
    (old,), (of_new,) = run.named("report"), run.named("add")
    assert family(old) == (failed["id"], failed["id"])
    assert family(of_new) == (failed["id"], failed["id"])
    assert not run.named("explain")  # called in place: no message, no job


def test_a_name_that_the_producer_has_not_registered_is_recorded(producer: Producer) -> None:
    run = published(
        producer,
        """
from celery import Celery
bare = Celery("bare", broker=app.conf.broker_url)
bare.send_task("tests.live.apps.celery_app.add", (1, 1))
app.send_task("nowhere.to.be.found", task_id="unknown-" + run.id)
""",
        2,
    )
    (known,) = run.named("add")
    assert known["outcome"] == "completed"
    unknown = run.jobs()["unknown-" + run.process_id]
    assert (unknown["class"], unknown["outcome"]) == ("nowhere.to.be.found", "rejected")


def test_queue_time_begins_at_the_eta(producer: Producer) -> None:
    run = published(
        producer,
        """
from datetime import datetime, timedelta, timezone
when.apply_async(eta=datetime.now(timezone(timedelta(hours=9))) + timedelta(seconds=1))
when.apply_async(eta=datetime.now() + timedelta(seconds=1))
when.apply_async(countdown=1)
when.apply_async(countdown=-5)
chain(when.si(), when.si().set(countdown=1)).delay()
""",
        6,
    )
    later = [job for job in run.jobs().values() if job.get("eta", 0) > job["enqueued_at"]]
    assert len(later) == 4
    for job in later:
        assert job["eta"] == pytest.approx(job["enqueued_at"] + 1, abs=0.2)
        assert job["started_at"] >= job["eta"]
        assert job["queue_time"] == pytest.approx(job["started_at"] - job["eta"], abs=1e-5)
    assert len(run.jobs()) == 6
    for job in run.jobs().values():
        assert job["queue_time"] < job["started_at"] - job["enqueued_at"] + 1e-5


def test_canvas_inside_of_a_job_inside_of_a_command(producer: Producer) -> None:
    run = published(producer, "spread.delay()", 5)
    (parent,) = run.named("spread")
    added = run.named("add")
    assert {job["root_id"] for job in added} == {parent["id"]}
    grouped = [job for job in added if "group_id" in job]
    steps = [job for job in added if "group_id" not in job]
    first, second = sorted(steps, key=lambda job: job["started_at"])
    assert [job["parent_id"] for job in (*grouped, first)] == [parent["id"]] * 3
    assert second["parent_id"] == first["id"]


def test_a_canvas_that_retries_and_replaces_keeps_its_run(producer: Producer) -> None:
    run = published(producer, "chord([flaky.s(1), replaced.si()])(chain(add.si(1), add.s(2)))", 4)
    assert sorted(job["attempt"] for job in run.jobs().values()) == [1, 1, 2, 2]


# Never breaks; recorded as far as it goes


def test_chunks_and_starmap_are_jobs_that_are_flagged_as_built_in(producer: Producer) -> None:
    run = published(
        producer,
        """
add.chunks([(number, number) for number in range(10)], 5).apply_async()
add.starmap([(1, 1), (2, 2)]).delay()
total.map([[1], [2]]).delay()
""",
        4,
    )
    found = sorted(job["class"] for job in run.jobs().values())
    assert found == ["celery.map", "celery.starmap", "celery.starmap", "celery.starmap"]
    assert all(job["built_in"] is True for job in run.jobs().values())


def test_an_applications_own_job_is_not_flagged(producer: Producer) -> None:
    run = published(producer, "add.delay(1)", 1)
    assert "built_in" not in run.one()


def test_stamps_travel_beside_the_context(producer: Producer) -> None:
    run = published(
        producer,
        """
steps = chain(add.s(1, 1), group(add.s(2), add.s(3)), total.s())
steps.stamp(tenant="a")
steps.delay()
""",
        4,
    )
    assert {job["outcome"] for job in run.jobs().values()} == {"completed"}


def test_protocol_1_carries_a_canvas(redis_server: RedisServer, worker: Worker) -> None:
    producer = Producer(redis_server, APP, TEST_PROTOCOL="1")
    try:
        run = published(
            producer,
            """
group(add.s(number) for number in range(2)).delay()
add.apply_async((1, 1), link=add.s(5))
fail.apply_async(("no",), link_error=report.s())
""",
            6,
        )
    finally:
        producer.close()
    assert run.counters()["failed_jobs"] == "1"


def manual(server: RedisServer, task_id: str) -> dict[str, str]:
    """What the store holds of a job that nobody's command began, once it has ended."""

    def ended() -> dict[str, str] | None:
        with server.client() as client:
            stored = client.hgetall(f"jobmon:job:metrics:{task_id}")
        found = {key.decode(): value.decode() for key, value in stored.items()}
        return found if found.get("status") in ("completed", "failed") else None

    return wait_for(ended, f"{task_id} ended")


def test_a_message_by_bare_kombu_is_a_manual_job(redis_server: RedisServer, worker: Worker) -> None:
    task_id = str(uuid.uuid4())
    with kombu.Connection(redis_server.url.rsplit("/", 1)[0] + "/1") as connection:
        connection.Producer().publish(
            ([3, 4], {}, {}),
            serializer="json",
            routing_key="celery",
            headers={"task": "tests.live.apps.celery_app.add", "id": task_id},
        )
    found = manual(redis_server, task_id)
    assert (found["command_name"], found["process_id"]) == ("manual-dispatch", task_id)
    assert found["status"] == "completed"
    assert "queue_time" not in json.loads(found["record"])


@pytest.mark.parametrize("task_id", ["7", "order/5 |%", "ä" * 200])
def test_a_message_pushed_by_another_language_is_a_manual_job(
    redis_server: RedisServer, worker: Worker, task_id: str
) -> None:
    """With no more than Celery needs, and an id that is no UUID."""
    message = {
        "body": json.dumps([[], {"depth": 1}, None]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "tests.live.apps.celery_app.nest", "id": task_id},
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": str(time.time()),
        },
    }
    with redis_server.client(db=1) as client:
        client.lpush("celery", json.dumps(message))
    found = manual(redis_server, task_id)
    assert (found["command_name"], found["status"]) == ("manual-dispatch", "completed")
    process_id = found["process_id"]
    with redis_server.client() as client:
        family = client.smembers(f"jobmon:command:{process_id}:manual")
    (child,) = {job_id.decode() for job_id in family} - {task_id}
    assert manual(redis_server, child)["process_id"] == process_id
