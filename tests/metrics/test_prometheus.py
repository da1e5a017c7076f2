"""A real Prometheus, with the configuration that ships, against a live server."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.prometheus import Prometheus, binary
from tests.serving import METRICS, TOKENS, Recorded, Served, until

pytestmark = pytest.mark.live

SHIPPED = Path(__file__).parents[2] / "exporters/prometheus/prometheus.yml"
LISTEN = "127.0.0.1:8765"


@contextmanager
def scraping(server: Served, folder: Path, *options: str, token: str = "") -> Iterator[Prometheus]:
    config = SHIPPED.read_text().replace("scrape_interval: 15s", "scrape_interval: 500ms")
    assert config.count(LISTEN) == 2
    config = config.replace(LISTEN, server.url.removeprefix("http://"))
    if token:
        path = folder / "token"
        path.write_text(token)
        config = config.replace("# authorization", "authorization")
        config = config.replace(
            "#   credentials_file: /etc/prometheus/jobmon-token", f"  credentials_file: {path}"
        )
    prometheus = Prometheus(folder, config, *options)
    try:
        yield prometheus
    finally:
        prometheus.stop()


def test_the_shipped_configuration_is_valid() -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "config", str(SHIPPED)], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_sees_every_job_and_no_reset_while_redis_is_away(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    assert own_redis_server.process is not None
    recorded = Recorded(own_redis_server)
    run = recorded.run()
    run.jobs(3, Outcome.COMPLETED)
    finished = 'jobmon_jobs_finished_total{outcome="completed"}'
    with (
        # Shorter than a scrape may take here.
        Served(
            own_redis_server.url, REDIS_TIMEOUT="0.1", HEALTH_CHECK_REDIS_TIMEOUT="0.1"
        ) as server,
        scraping(server, tmp_path) as prometheus,
    ):
        until(lambda: prometheus.value(finished) == 3)
        assert prometheus.value('up{job="jobmon"}') == 1
        assert prometheus.value('jobmon_command_runs_in_progress{command="data:process"}') == 1
        until(lambda: prometheus.value("jobmon_server_redis_up") == 1)
        own_redis_server.process.send_signal(signal.SIGSTOP)
        until(lambda: prometheus.value('up{job="jobmon"}') == 0)
        until(lambda: prometheus.value("jobmon_server_redis_up") == 0)
        own_redis_server.process.send_signal(signal.SIGCONT)
        run.jobs(4, Outcome.COMPLETED)
        until(lambda: prometheus.value(finished) == 7)
        assert prometheus.value(f"resets({finished}[5m])") == 0
    recorded.close()


def test_prometheus_scrapes_with_a_token_of_scope_metrics(
    redis_server: RedisServer, recorded: Recorded, tmp_path: Path
) -> None:
    recorded.run().jobs(2, Outcome.FAILED)
    with (
        Served(redis_server.url, AUTH_TOKENS=TOKENS) as server,
        scraping(server, tmp_path, token=METRICS) as prometheus,
    ):
        until(lambda: prometheus.value('jobmon_jobs_finished_total{outcome="failed"}') == 2)
        until(lambda: prometheus.value("sum(up)") == 2)


def exemplars(prometheus: Prometheus, query: str) -> list[dict[str, Any]]:
    """Those of the last hour, each with the labels of its series."""
    now = time.time()
    answer = prometheus.get(
        "/api/v1/query_exemplars", query=query, start=str(now - 3600), end=str(now + 3600)
    )
    assert answer is not None
    return [
        {"series": one["seriesLabels"], **found}
        for one in answer["data"]
        for found in one["exemplars"]
    ]


def test_prometheus_keeps_the_trace_of_a_job_in_each_bucket_and_outcome(
    redis_server: RedisServer, recorded: Recorded, tmp_path: Path
) -> None:
    run = recorded.run()
    quick, slow = (f"{number:032x}" for number in (17, 18))
    run.jobs(1, Outcome.COMPLETED, seconds=0.42, trace_id=quick, span_id="1" * 16)
    run.jobs(1, Outcome.FAILED, seconds=42.0, trace_id=slow, span_id="2" * 16)
    run.jobs(1, Outcome.TIMED_OUT, seconds=700.0, trace_id="3" * 32, span_id="")
    with (
        Served(redis_server.url) as server,
        scraping(server, tmp_path, "--enable-feature=exemplar-storage") as prometheus,
    ):
        page = server.client.get("/metrics").text
        until(lambda: prometheus.value("sum(jobmon_jobs_finished_total)") == 3)
        buckets = exemplars(prometheus, "jobmon_job_duration_seconds_bucket")
        ends = exemplars(prometheus, "jobmon_jobs_finished_total")
    assert "trace_id" not in page
    assert {
        (one["series"]["le"], one["labels"]["trace_id"], float(one["value"])) for one in buckets
    } == {("0.5", quick, 0.42), ("60.0", slow, 42.0)}
    assert {(one["series"]["outcome"], one["labels"]["span_id"]) for one in ends} == {
        ("completed", "1" * 16),
        ("failed", "2" * 16),
    }
