"""Two servers over one store: however they are scraped, Prometheus sees the true rate."""

from __future__ import annotations

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.prometheus import Prometheus, running
from tests.serving import Recorded, Served, until

pytestmark = [pytest.mark.live, pytest.mark.clock]

WINDOW_SECONDS = 30
FINISHED = 'jobmon_jobs_finished_total{outcome="completed"}'
ONCE = "sum(max without (instance) (rate(%s[%ds])))"
CONFIG = """
global: {{scrape_interval: 500ms}}
scrape_configs:
  - job_name: behind-one-address
    static_configs: [{{targets: ["{both}"]}}]
  - job_name: each
    static_configs: [{{targets: ["{one}", "{other}"]}}]
"""


class Balancer:
    """One address over several servers: each request goes to the next of them."""

    def __init__(self, *servers: Served) -> None:
        turn = itertools.cycle(servers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = {"Accept": self.headers["Accept"]}
                answer = httpx.get(next(turn).url + self.path, headers=asked, trust_env=False)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Load:
    """Jobs that end at a steady pace, and how many had at any time."""

    def __init__(self, recorded: Recorded) -> None:
        self._run = recorded.run()
        self._ended = [(time.time(), 0)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._run.jobs(5, Outcome.COMPLETED)
            self._ended.append((time.time(), self._ended[-1][1] + 5))
            due += 0.1

    def rate(self, since: float, until: float) -> float:
        """Jobs a second between two moments."""
        within = [one for one in self._ended if since <= one[0] <= until]
        (began, first), (ended, last) = within[0], within[-1]
        return (last - first) / (ended - began)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def test_two_replicas_show_the_true_rate_behind_one_address_and_each_by_itself(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    recorded = Recorded(own_redis_server)
    with (
        Served(own_redis_server.url, "--no-schedule") as one,
        Served(own_redis_server.url, "--no-schedule") as other,
    ):
        balancer, load = Balancer(one, other), Load(recorded)
        targets = {"one": one.url[len("http://") :], "other": other.url[len("http://") :]}
        prometheus = Prometheus(tmp_path, CONFIG.format(both=balancer.address, **targets))
        with running(prometheus):
            began = time.time()
            up = "count(up == 1)"
            until(lambda: prometheus.value(up) == 3)
            until(lambda: time.time() > began + WINDOW_SECONDS + 5, WINDOW_SECONDS + 20)
            shown = {
                job: prometheus.value(ONCE % (f'{FINISHED[:-1]},job="{job}"}}', WINDOW_SECONDS))
                for job in ("behind-one-address", "each")
            }
            doubled = prometheus.value(f'sum(rate({FINISHED[:-1]},job="each"}}[30s]))')
            resets = prometheus.value(f"sum(resets({FINISHED}[1m]))")
            now = time.time()
        load.close()
        balancer.close()
    true = load.rate(now - WINDOW_SECONDS, now)
    assert shown == {job: pytest.approx(true, rel=0.01) for job in shown}
    # What the rules guard against: both replicas count the same jobs.
    assert doubled == pytest.approx(2 * true, rel=0.02)
    assert resets == 0
    recorded.close()
