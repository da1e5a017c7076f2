"""``/metrics`` and ``/metrics/self`` on a live server."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from jobmon.model import Outcome
from jobmon.server.metrics import takes_openmetrics
from tests.conftest import RedisServer
from tests.serving import METRICS, READ, TOKENS, Recorded, Served, bearer

pytestmark = pytest.mark.live

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def samples(text: str) -> dict[str, float]:
    """Sum of all series of each name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_the_format_is_the_one_asked_for(served: Served, recorded: Recorded) -> None:
    recorded.run().jobs(2, Outcome.COMPLETED)
    plain = served.client.get("/metrics", headers={"Accept": "*/*"})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert samples(plain.text)["jobmon_jobs_finished_total"] == 2
    better = served.client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert better.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert better.text.endswith("# EOF\n")
    assert list(openmetrics.text_string_to_metric_families(better.text))


# As they come: Prometheus 2.42, 2.53 with native histograms, and 3.5, and what makes none of it.
PLAIN, OPEN = "text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1."
ACCEPTED = {
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": OPEN,
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;"
    "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1": OPEN,
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": OPEN,
    "text/plain;version=1.0.0;escaping=underscores;q=0.5,text/plain;version=0.0.4;q=0.3": PLAIN,
    "": PLAIN,
    "*/*": PLAIN,
    "text/html,application/xhtml+xml,*/*;q=0.8": PLAIN,
    "application/openmetrics-text": OPEN,
    "Application/OpenMetrics-Text ; Version=1.0.0": OPEN,
    "application/openmetrics-text;version=abc": OPEN,
    "application/openmetrics-text;version=1..0": OPEN,
    "application/openmetrics-text;version=99999.0": OPEN,
    "application/openmetrics-text;q=0.0,text/plain": PLAIN,
    "application/openmetrics-text; q=0.01": OPEN,
    "text/plain;version=x;escaping=foo": PLAIN,
    "text/plain;version=1..0": PLAIN,
    ";,;q=;,application/openmetrics-text2,application/openmetrics-tex": PLAIN,
}


def test_any_accept_header_is_answered_in_one_of_two_formats(served: Served) -> None:
    for accept, expected in ACCEPTED.items():
        for path in ("/metrics", "/metrics/self"):
            answer = served.client.get(path, headers={"Accept": accept})
            assert answer.status_code == 200, accept
            assert answer.headers["content-type"].startswith(expected), accept
            assert "99999" not in answer.headers["content-type"]
            assert answer.text.endswith("# EOF\n") is (expected is OPEN), accept


@given(
    st.text("application/openmetrics-text;=.,0q vrsion", max_size=200)
    | st.lists(st.sampled_from(sorted(ACCEPTED)), max_size=3).map(",".join)
    | st.text()
)
def test_no_accept_header_is_too_odd(accept: str) -> None:
    assert takes_openmetrics(accept) in (True, False)


@pytest.mark.parametrize(
    ("asked", "packed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("identity", False), ("gzip;q=0", False)],
)
def test_it_is_packed_for_whoever_can_unpack(
    asked: str, packed: bool, served: Served, recorded: Recorded
) -> None:
    recorded.run()
    with served.client.stream("GET", "/metrics", headers={"Accept-Encoding": asked}) as answer:
        body = b"".join(answer.iter_raw())
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    text = (gzip.decompress(body) if packed else body).decode()
    assert samples(text)["jobmon_command_runs_in_progress"] == 1


def test_two_servers_answer_the_same(redis_server: RedisServer, recorded: Recorded) -> None:
    run = recorded.run()
    run.jobs(5, Outcome.FAILED)
    with Served(redis_server.url) as one, Served(redis_server.url) as other:
        assert one.client.get("/metrics").text == other.client.get("/metrics").text
        run.jobs(1, Outcome.COMPLETED)
        assert one.client.get("/metrics").text == other.client.get("/metrics").text


def test_the_setting_app_is_a_label_of_every_series(store: RedisServer) -> None:
    with Served(store.url, APP="shop") as server:
        text = server.client.get("/metrics").text
    families = text_string_to_metric_families(text)
    labels = [sample.labels for family in families for sample in family.samples]
    assert labels
    assert all(one["app"] == "shop" for one in labels)
    assert not any({"job", "instance"} & set(one) for one in labels)


def test_its_own_page_tells_what_the_process_did(served: Served, recorded: Recorded) -> None:
    served.get("nope")
    served.client.get("/metrics")
    with recorded.client() as client:
        client.hset("jobmon:commands:running", "x", "{")
    served.get("commands/running")
    text = served.client.get("/metrics/self").text
    own = samples(text)
    assert own["jobmon_server_redis_up"] == 1
    assert own["jobmon_server_collect_duration_seconds_count"] >= 1
    assert own["jobmon_server_entries_skipped_total"] >= 1
    assert own["process_resident_memory_bytes"] > 1_000_000
    assert "python_info" in own
    assert 'jobmon_server_requests_total{method="GET",path="unknown",status="404"}' in text
    path = "/api/job-monitor/commands/running"
    assert f'jobmon_server_requests_total{{method="GET",path="{path}",status="200"}}' in text
    assert "jobmon_jobs_finished_total" not in own
    assert not any(
        name.startswith(("process_", "python_"))
        for name in samples(served.client.get("/metrics").text)
    )


def test_it_is_public_only_where_the_setting_says_so(store: RedisServer) -> None:
    with Served(store.url, AUTH_TOKENS=TOKENS, METRICS_PUBLIC="true") as server:
        for path in ("/metrics", "/metrics/self"):
            assert server.client.get(path).status_code == 200
            assert server.client.get(path, headers=bearer(METRICS)).status_code == 200
        assert server.get("stats").status_code == 401
        assert server.get("stats", headers=bearer(READ)).status_code == 200
