"""A command and its Celery jobs are one trace, exported from children that end in os._exit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobmon.settings import Settings
from jobmon.store.reader import Reader
from tests.conftest import RedisServer
from tests.live.celery_fixtures import Run, celery_worker, command, wait_for
from tests.otlp import Receiver, attributes

pytestmark = pytest.mark.live


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_commands_trace_holds_a_span_of_each_attempt(
    store: RedisServer, tmp_path: Path, pool: str
) -> None:
    with Receiver() as receiver:
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # only a flush at the end brings them in time
        }
        recycling = ["--max-tasks-per-child", "3"] if pool == "prefork" else []
        with celery_worker(store, tmp_path, *recycling, pool=pool, **tracing) as worker:
            body = "for n in range(10):\n    add.delay(n)\nnest.delay(2)\nflaky.delay(2)\n"
            run = Run(store, command(store, body + "fail.delay('no')", **tracing))
            jobs = run.ended(15)
            worker.stop()

        def of(name: str) -> list[Any]:
            return [span for span in receiver.spans if span.name.endswith(name)]

        wait_for(lambda: len(of("")) == 18, f"all spans, of {len(receiver.spans)}", 5)
        (root,) = of("command data:process")
        assert {span.trace_id for span in receiver.spans} == {root.trace_id}
        by_id = {span.span_id.hex(): span for span in receiver.spans}
        for job in jobs.values():
            span = by_id[job["span_id"]]
            assert attributes(span)["messaging.message.id"] == job["id"]
            assert attributes(span)["jobmon.job.outcome"] == job["outcome"]
            assert job["trace_id"] == root.trace_id.hex()
            assert root.span_id in [link.span_id for link in span.links]
        attempts = of("flaky")
        assert sorted(attributes(span)["jobmon.job.attempt"] for span in attempts) == [1, 2, 3]
        assert {span.parent_span_id for span in attempts} == {root.span_id}
        parents = {span.parent_span_id for span in of("nest")}
        assert len(parents) == 3
        with store.client() as client:
            series = Reader(client, Settings()).totals().jobs
        exemplars = [one for each in series for one in each.finished_exemplars.values()]
        assert len(exemplars) >= 5  # of each name, and of each outcome of `flaky`
        for one in exemplars:
            assert by_id[one.span_id].trace_id.hex() == one.trace_id
        (failed,) = of("fail")
        assert failed.status.code == failed.status.STATUS_CODE_ERROR
