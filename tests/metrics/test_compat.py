"""Pages under the names of other exporters: the same numbers as jobmon's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as opened
from prometheus_client.parser import text_string_to_metric_families
from rq import Queue

from jobmon.metrics.compat import EXPORTERS
from jobmon.model import Beat, Outcome
from jobmon.store import connection
from jobmon.store.beats import Beats
from tests.conftest import RedisServer
from tests.live.celery_fixtures import celery_worker, produce
from tests.serving import METRICS, TOKENS, Recorded, Served, bearer, until

FOLDERS = Path(__file__).parents[2] / "exporters"
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
TASK = {"name": "app.tasks.process_user", "hostname": "generic", "queue_name": "default"}


def worker(engine: str, name: str, queues: list[str], slots: int, busy: int) -> Beat:
    body = {"engine": engine, "name": name, "hostname": "h", "queues": queues, "slots": slots}
    told = {**body, "busy": busy, "started_at": time.time(), "beats_every": 10}
    return Beat("worker", f"id of {name}", body=json.dumps(told).encode())


def series(text: str, parse: Callable[[str], Iterable[Any]]) -> Series:
    found: Series = {}
    for family in parse(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def plain(served: Served, exporter: str) -> Series:
    """A page as text."""
    answer = served.client.get(f"/metrics/compat/{exporter}")
    assert answer.status_code == 200
    return series(answer.text, text_string_to_metric_families)


def page(served: Served, exporter: str) -> Series:
    """A page, which says the same as text and as OpenMetrics."""
    found = plain(served, exporter)
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = served.client.get(f"/metrics/compat/{exporter}", headers=asked)
    assert series(answer.text, opened) == found
    return found


def value(found: Series, name: str, /, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def filled(recorded: Recorded) -> Recorded:
    run = recorded.run()
    for outcome in set(Outcome) - {Outcome.LOST}:
        run.jobs(2, outcome)
    lost = run.job()
    recorded.write(
        run.ended(lost)._replace(status="lost", outcome="lost", stages=10, error_type="Lost")
    )
    run.jobs(3)
    for outcome in (Outcome.COMPLETED, Outcome.FAILED, Outcome.RETRIED):
        run.jobs(1, outcome, engine="rq", queue="mail", job_name="send")
    with connection.connect(recorded.settings) as client:
        Beats(client, recorded.settings).send(
            [
                worker("celery", "one@host-1", ["default", "mail"], 4, 1),
                worker("celery", "two@host-1", ["default"], 2, 2),
                worker("celery", "one@host-2", ["default"], 8, 0),
                worker("rq", "8c1d", ["mail", "low"], 1, 1),
                worker("rq", "9f2e", ["mail"], 1, 0),
            ]
        )
    return recorded


def test_celery_exporters_names_have_our_numbers(
    filled: Recorded, redis_server: RedisServer
) -> None:
    with Served(redis_server.url, METRICS_COMPAT="true", QUEUES_POLL_SECONDS="0") as served:
        found = page(served, "celery-exporter")
    counted = {"sent": 18, "started": 15, "succeeded": 2, "rejected": 2, "revoked": 2, "retried": 2}
    for name, expected in counted.items():
        assert value(found, f"celery_task_{name}_total", **TASK) == expected, name
    assert value(found, "celery_task_failed_total", **TASK, exception="") == 5
    assert value(found, "celery_task_runtime_count", **TASK) == 12
    assert value(found, "celery_task_runtime_bucket", **TASK, le="0.5") == 12
    assert value(found, "celery_task_queue_wait_time_bucket", **TASK, le="1800.0") == 15
    assert value(found, "celery_worker_up", hostname="host-1") == 1
    assert value(found, "celery_worker_tasks_active", hostname="host-1") == 3
    assert value(found, "celery_worker_tasks_active", hostname="host-2") == 0
    assert value(found, "celery_active_worker_count", queue_name="default") == 3
    assert value(found, "celery_active_worker_count", queue_name="mail") == 1
    assert value(found, "celery_active_process_count", queue_name="default") == 14
    assert not any("send" in dict(labels).values() for _, labels in found)


def test_rq_exporters_names_have_our_numbers(filled: Recorded, redis_server: RedisServer) -> None:
    with Served(redis_server.url, METRICS_COMPAT="true", QUEUES_POLL_SECONDS="0") as served:
        found = page(served, "rq-exporter")
    generic = {"name": "generic", "queues": "mail"}
    assert value(found, "rq_workers_success_total", **generic) == 1
    assert value(found, "rq_workers_failed_total", **generic) == 2
    assert value(found, "rq_workers_working_time_total", **generic) == pytest.approx(3 * 0.42)
    assert value(found, "rq_workers", name="8c1d", state="busy", queues="mail,low") == 1
    assert value(found, "rq_workers", name="9f2e", state="idle", queues="mail") == 1
    assert not any("default" in dict(labels).values() for _, labels in found)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_promtool_minds_nothing_but_names(
    exporter: str, filled: Recorded, redis_server: RedisServer
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on PATH")
    with Served(redis_server.url, METRICS_COMPAT="true") as served:
        text = served.client.get(f"/metrics/compat/{exporter}").content
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    said = [line for line in checked.stderr.decode().splitlines() if line]
    # Names that celery-exporter chose.
    assert all(re.match(r"celery_active_(worker|process)_count .*_count", line) for line in said)
    assert checked.stdout == b""


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_page_is_off_unless_it_is_wanted_and_says_so(
    exporter: str, redis_server: RedisServer
) -> None:
    with Served(redis_server.url) as served:
        answer = served.client.get(f"/metrics/compat/{exporter}")
    assert answer.status_code == 404
    assert answer.json()["message"] == "metrics.compat is false: this page is not served."


def test_a_page_wants_the_token_that_metrics_does(redis_server: RedisServer) -> None:
    with Served(redis_server.url, METRICS_COMPAT="true", AUTH_TOKENS=TOKENS) as served:
        path = "/metrics/compat/rq-exporter"
        assert served.client.get(path).status_code == 401
        assert served.client.get(path, headers=bearer(METRICS)).status_code == 200


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_query_of_the_mapping_names_families_that_exist(exporter: str) -> None:
    labels = {
        one["name"]: set(one["labels"])  # type: ignore[call-overload]
        for one in json.loads((FOLDERS / "catalogue.json").read_text())
    }
    mapping = json.loads((FOLDERS / exporter / "mapping.json").read_text())
    for one in (*mapping["families"], *mapping["missing"]):
        name, _, rest = one["query"].partition("{")
        family = name if name in labels else name.rpartition("_")[0]
        assert family in labels, name
        used = {part.partition("=")[0].rstrip("=~") for part in rest.strip("}").split(",") if part}
        assert used <= labels[family]


@pytest.mark.live
def test_what_brokers_hold_is_shown_under_both_names(store: RedisServer) -> None:
    waits = {"queue": "mail", "status": "queued"}
    server = store.url.rpartition("/")[0]
    settings = {
        "CELERY_BROKER_URL": f"{server}/1",
        "QUEUES_POLL_SECONDS": "1",
        "RQ_REDIS_URL": store.url,
    }
    produce(store, "for n in range(3): add.delay(n)")
    with store.client() as client:
        Queue("mail", connection=client).enqueue("app.send")
        Queue("mail", connection=client).enqueue_in(timedelta(hours=1), "app.send")
    with Served(store.url, METRICS_COMPAT="true", **settings) as served:
        until(lambda: value(plain(served, "rq-exporter"), "rq_jobs", **waits) == 1)
        found = page(served, "rq-exporter")
        length = "celery_queue_length"
        until(lambda: value(plain(served, "celery-exporter"), length, queue_name="celery") == 3)
        assert value(page(served, "celery-exporter"), length, queue_name="celery") == 3
    assert {dict(labels)["status"]: count for (_, labels), count in found.items()} == {
        "queued": 1,
        "started": 0,
        "deferred": 0,
        "scheduled": 1,
        "failed": 0,
    }


@pytest.mark.live
def test_a_real_worker_is_shown_alike_under_both_names(store: RedisServer, tmp_path: Path) -> None:
    with (
        celery_worker(store, tmp_path, JOB_MONITOR_BEATS_INTERVAL_SECONDS="0.2"),
        Served(store.url, METRICS_COMPAT="true") as served,
    ):
        produce(store, "for n in range(5): add.delay(n)\nfail.delay('no')")

        def own() -> Series:
            return series(served.client.get("/metrics").text, text_string_to_metric_families)

        def ended(found: Series) -> float:
            return sum(v for (name, _), v in found.items() if name == "jobmon_jobs_finished_total")

        until(lambda: ended(own()) == 6)
        ours, theirs = own(), plain(served, "celery-exporter")
    app = "tests.live.apps.celery_app"
    for task, outcome, family in (("add", "completed", "succeeded"), ("fail", "failed", "failed")):
        labels = {"name": f"{app}.{task}", "hostname": "generic", "queue_name": "celery"}
        exception = {"exception": ""} if family == "failed" else {}
        own_labels = {"app": "default", "engine": "celery", "queue": "celery"}
        expected = value(
            ours,
            "jobmon_jobs_finished_total",
            **own_labels,
            job_name=f"{app}.{task}",
            outcome=outcome,
        )
        assert expected == {"add": 5, "fail": 1}[task]
        assert value(theirs, f"celery_task_{family}_total", **labels, **exception) == expected
        for part in ("count", "sum"):
            assert value(theirs, f"celery_task_runtime_{part}", **labels) == value(
                ours,
                f"jobmon_job_duration_seconds_{part}",
                **own_labels,
                job_name=f"{app}.{task}",
            )
    assert value(theirs, "celery_active_process_count", queue_name="celery") == 2
    assert [v for (name, _), v in theirs.items() if name == "celery_worker_up"] == [1]
