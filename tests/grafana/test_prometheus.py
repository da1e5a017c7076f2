"""Every query of every dashboard, asked of a real Prometheus that scrapes a server at work."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest
import redis
import rq

from jobmon.model import Outcome, Stage, Status
from tests import syncing
from tests.analysis.evaluated import evaluated
from tests.conftest import RedisServer
from tests.databases import Database
from tests.grafana.dashboards import (
    NAMES,
    annotations,
    asked,
    every_family,
    variables,
)
from tests.grafana.promql import parse
from tests.live.scheduler_fixtures import beat, beat_worker
from tests.metrics.test_prometheus import LISTEN, SHIPPED
from tests.prometheus import Prometheus
from tests.serving import Recorded, Served, until

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

COMMAND: Final = "data:process"
"""One that leads to all kinds of jobs."""
SENT: Final = "tick"
"""One that a scheduler sends."""
CHOSEN: Final = {"__rate_interval": "1m", "__range": "5m"}

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
NOBODY: Final = "http://127.0.0.1:9"
"""Nobody listens there."""
SCHEDULE: Final[dict[str, tuple[str, str, list[Any]]]] = {
    SENT: ("work", "0.5", []),
    "wrong": ("broken", "0.5", ["no"]),
    "night": ("work", "nightly", []),
}

MAY_BE_EMPTY: Final = {"Errors of the server": "no server fails here"}
"""Titles of panels, and why they show nothing here."""
MAY_BE_ABSENT: Final = {
    "jobmon_queue_time_upper_bound_seconds": "it is learned over hours",
    "jobmon_anomalies_total": "an increase, of what opens before the first scrape or long after",
}
"""Families that have no series here, and why."""


class Load:
    """What a Prometheus has seen of everything at work."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._url = prometheus.url
        self.value = prometheus.value

    def ask(self, path: str, **parameters: Any) -> Any:
        """What its API answers."""
        answer = httpx.get(f"{self._url}/api/v1/{path}", params=parameters, trust_env=False)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def shown(self, expression: str, *, over_time: bool) -> list[Any]:
        """The series that a panel gets."""
        if not over_time:
            return self.ask("query", query=expression)["result"]
        now = time.time()
        found = self.ask("query_range", query=expression, start=now - 30, end=now, step=1)
        return found["result"]

    def has(self, expression: str) -> Callable[[], bool]:
        """Whether a number has come to be more than nothing."""
        return lambda: bool(self.value(expression))


@pytest.fixture(scope="module")
def load(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Two servers, both scraped; a worker, a scheduler, and all that can happen to jobs."""
    folder = tmp_path_factory.mktemp("load")
    with redis_server.client() as client:
        client.flushall()
    database = Database("sqlite", f"sqlite:///{folder / 'history.db'}")
    settings = {
        "DATABASE_URL": database.url,
        "WEBHOOKS": f'[{{"url": "{NOBODY}"}}]',
        "WEBHOOKS_ALLOW_PRIVATE": "true",
        "ALERTMANAGER_URLS": NOBODY,
        "CELERY_BROKER_URL": redis_server.url.removesuffix("/0") + "/1",
        "RQ_REDIS_URL": redis_server.url,
        "QUEUES_POLL_SECONDS": "0.5",
        "LATE_PENDING_SECONDS": "1",
        "LATE_PROCESSING_SECONDS": "1",
    }
    recorded = Recorded(redis_server)
    with ExitStack() as stack:
        stack.callback(recorded.close)
        wait_in_queue(stack.enter_context(redis_server.client()))
        history = stack.enter_context(evaluated(database, redis_server))
        history.steady(COMMAND, many=40)
        history.judge_all()
        history.run(COMMAND, seconds=90.0)
        stack.enter_context(beat_worker(redis_server, folder))
        stack.enter_context(beat(redis_server, folder, SCHEDULE))
        servers = [
            stack.enter_context(Served(redis_server.url, **settings)).url.removeprefix("http://")
            for _ in range(2)
        ]
        config = SHIPPED.read_text().replace("scrape_interval: 15s", "scrape_interval: 500ms")
        config = config.replace(LISTEN, '", "'.join(servers))
        prometheus = Prometheus(folder / "prometheus", config, "--enable-feature=exemplar-storage")
        stack.callback(prometheus.stop)
        found = Load(prometheus)
        for times in (1, 2):  # a rate needs two
            happen(recorded)
            for verb in (["sync", "--force"], ["analyze"]):
                said = syncing.ended(redis_server, database.url, *verb[1:], verb=verb[0])
                assert said.returncode == 0, said.stderr
            recorded.run(COMMAND)  # and one that waits to be copied
            ended = f'max(jobmon_command_runs_total{{command="{COMMAND}", outcome="completed"}})'
            until(found.has(f"{ended} == {2 * times}"), 30)
        until(found.has("sum(rate(jobmon_sync_rows_total[1m]))"), 30)
        yield found


def wait_in_queue(client: redis.Redis) -> None:
    """Jobs that nobody takes."""
    queue = rq.Queue("reports", connection=client)
    first = queue.enqueue("somewhere.something")
    queue.enqueue("somewhere.something", depends_on=first)
    queue.enqueue_in(timedelta(hours=1), "somewhere.something")


def happen(recorded: Recorded) -> None:
    """Everything once that can happen to runs and jobs."""
    for outcome in Outcome:
        run = recorded.run(COMMAND)
        run.jobs(2, outcome, trace_id=TRACE, span_id="1" * 16)
        if outcome in (Outcome.FAILED, Outcome.LOST):
            run.end(outcome)
        if outcome in (Outcome.COMPLETED, Outcome.LOST):
            run.end(Outcome.COMPLETED)
    back = recorded.run(COMMAND)
    job = back.job()
    recorded.write(back.transition(job, Status.PROCESSING, Stage.STARTED))
    recorded.write(back.transition(job, Status.LOST, Stage.LOST, Outcome.LOST))
    recorded.write(back.ended(job))
    recorded.run("data:broken").end(Outcome.FAILED, exit_code=1)
    open_run = recorded.run(COMMAND)
    open_run.job(created_at=time.time() - 60)


def filled(expression: str, name: str, command: str = COMMAND) -> str:
    """An expression as Grafana would ask it, with everything chosen."""
    chosen = {**CHOSEN, **dict.fromkeys(variables(name), ".*")}
    if name == "command":
        chosen["command"] = command
    return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], expression)


def may_be_empty(expression: str) -> bool:
    """Whether it names what does not happen here."""
    return any(node.name in MAY_BE_ABSENT for node in parse(expression).selectors())


@pytest.mark.parametrize("name", NAMES)
def test_every_query_of_every_panel_answers_something(load: Load, name: str) -> None:
    empty: list[str] = []
    for one in asked(name):
        found = (
            load.shown(filled(one.expression, name, command), over_time=one.target["range"])
            for command in (COMMAND, SENT)
        )
        allowed = one.panel["title"] in MAY_BE_EMPTY or may_be_empty(one.expression)
        if not any(found) and not allowed:
            empty.append(one.where)
    assert not empty, "\n".join(empty)


@pytest.mark.parametrize("name", NAMES)
def test_every_annotation_answers_something(load: Load, name: str) -> None:
    for mark in annotations(name):
        result = load.shown(filled(mark["expr"], name), over_time=True)
        assert result or may_be_empty(mark["expr"]), mark["expr"]


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_values(load: Load, name: str) -> None:
    for one in variables(name).values():
        if one["type"] == "query":
            series, _, label = one["query"].removeprefix("label_values(")[:-1].rpartition(", ")
            values = load.ask(f"label/{label}/values", **{"match[]": filled(series, name)})
            assert values, one["query"]


@pytest.mark.parametrize("name", ["command", "jobs"])
def test_dots_lead_to_traces(load: Load, name: str) -> None:
    now = time.time()
    with_traces = [one for one in asked(name) if one.target.get("exemplar")]
    assert with_traces
    for one in with_traces:
        found = load.ask(
            "query_exemplars", query=filled(one.expression, name), start=now - 300, end=now + 60
        )
        labels = [each["labels"] for series in found for each in series["exemplars"]]
        assert TRACE in [each["trace_id"] for each in labels], one.where


def test_what_two_servers_answer_is_counted_once(load: Load) -> None:
    (jobs,) = [one for one in asked("command") if one.panel["title"] == "Open jobs"][:1]
    assert load.value("count(jobmon_build_info)") == 2
    truth = f'sum by (instance) (jobmon_command_jobs_pending{{command="{COMMAND}"}})'
    assert load.value(filled(jobs.expression, "command")) == load.value(f"max({truth})")


def test_what_may_be_missing_exists() -> None:
    titles = {one.panel["title"] for name in NAMES for one in asked(name)}
    assert set(MAY_BE_EMPTY) <= titles
    assert set(MAY_BE_ABSENT) <= every_family()
