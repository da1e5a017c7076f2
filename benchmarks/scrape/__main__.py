"""What a scrape takes: time and bytes of ``/metrics``, beside Flower's and rq-exporter's.

``python -m benchmarks.scrape [--jobs N] [--peers N] [--scrapes N] [--rq-exporter PYTHON] [--page]``

Each server is asked in turn over a connection that is kept, as Prometheus asks: for OpenMetrics,
compressed. Ends with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks import page
from benchmarks.api import peers
from benchmarks.scrape import filled
from tests.conftest import RedisServer, server_binary
from tests.serving import Served, until

PAGE = page.FOLDER / "scrape.md"
FEW = 10_000
SERIES, LONGEST_P99_SECONDS, MOST_GROWTH = 5_000, 0.1, 1.25
_ACCEPT = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3",
    "Accept-Encoding": "gzip",
}


class Target:
    """A page that is scraped, and the process that answers it."""

    def __init__(self, name: str, url: str, pid: int) -> None:
        self.name = name
        self._url = url
        self._process = psutil.Process(pid)
        self._client = httpx.Client(trust_env=False, timeout=60)
        self.took: list[float] = []
        self._cpu = 0.0

    def scrape(self) -> bytes:
        """Ask once; what came over the wire."""
        before = self._cpu_seconds()
        began = time.perf_counter()
        with self._client.stream("GET", self._url, headers=_ACCEPT) as answer:
            body = b"".join(answer.iter_raw())
        self.took.append(time.perf_counter() - began)
        self._cpu += self._cpu_seconds() - before
        assert answer.status_code == 200, answer
        return body

    def _cpu_seconds(self) -> float:
        used = self._process.cpu_times()
        return used.user + used.system

    def measured(self) -> Measured:
        wire = self.scrape()
        text = gzip.decompress(wire) if wire[:2] == b"\x1f\x8b" else wire
        took = sorted(self.took)
        lines = text.splitlines()
        return Measured(
            self.name,
            sum(1 for line in lines if line and line[:1] != b"#"),
            len(text),
            len(wire),
            statistics.median(took),
            took[min(len(took) - 1, int(len(took) * 0.99))],
            self._cpu / len(took),
        )


class Measured(NamedTuple):
    """What a scrape takes."""

    name: str
    series: int
    bytes: int
    wire_bytes: int
    p50_seconds: float
    p99_seconds: float
    cpu_seconds: float
    """Of the process that answers; Redis' is not in it."""


@contextmanager
def _redis() -> Iterator[RedisServer]:
    server = RedisServer(server_binary() or "redis-server")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _jobmon(name: str, jobs: int) -> Iterator[Target]:
    """A server whose store holds that many jobs; 0: the limits of cardinality."""
    with _redis() as server:
        began = time.perf_counter()
        if jobs:
            filled.store(server, jobs)
        else:
            filled.limits(server)
        print(f"{name}: filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        with Served(server.url, "--no-schedule") as served:
            yield Target(name, f"{served.url}/metrics", served.process.pid)


@contextmanager
def _flower(folder: Path, tasks: int) -> Iterator[Target]:
    with _redis() as server:
        port = peers.free_port()
        url = f"http://127.0.0.1:{port}/metrics"
        command = (sys.executable, "-m", "celery", "-b", server.url, "flower", f"--port={port}")
        with peers.process(folder, "flower", url, *command, "--logging=error"):
            # Events go to whoever listens: the first tells that it does.
            def hears() -> bool:
                filled.celery_events(server.url, 1)
                return "flower_events_total{" in httpx.get(url, trust_env=False).text

            until(hears, 60)
            filled.celery_events(server.url, tasks)
            yield Target("Flower", url, _listener(port))


@contextmanager
def _rq_exporter(folder: Path, python: str, jobs: int) -> Iterator[Target]:
    with _redis() as server:
        with server.client() as client:
            filled.rq_jobs(client, jobs)
        port = peers.free_port()
        url = f"http://127.0.0.1:{port}/metrics"
        command = (python, "-m", "rq_exporter", "--host", "127.0.0.1", "--port", str(port))
        where = str(urlsplit(server.url).port)
        with peers.process(folder, "rq-exporter", url, *command, RQ_REDIS_PORT=where):
            yield Target("rq-exporter", url, _listener(port))


def _listener(port: int) -> int:
    """Process that listens at a port."""
    for one in psutil.net_connections("tcp"):
        if one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN and one.pid:
            return one.pid
    raise RuntimeError(f"nobody listens at {port}")


def _has_rq_exporter(python: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec("rq_exporter") is not None
    return os.access(python, os.X_OK)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help=f"beside {FEW:,}")
    parser.add_argument("--peers", type=int, default=FEW, help="jobs that the peers hold")
    parser.add_argument("--scrapes", type=int, default=200, help="of each server")
    parser.add_argument(
        "--rq-exporter",
        default=sys.executable,
        metavar="PYTHON",
        help="interpreter that has rq-exporter from PyPI; left out where it has not",
    )
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    few, many, limits = f"{FEW:,} jobs", f"{options.jobs:,} jobs", "at the limits"
    with tempfile.TemporaryDirectory(prefix="jobmon-scrape-") as name, ExitStack() as stack:
        folder = Path(name)
        targets = [
            stack.enter_context(_jobmon(few, FEW)),
            stack.enter_context(_jobmon(many, options.jobs)),
            stack.enter_context(_jobmon(limits, 0)),
            stack.enter_context(_flower(folder, options.peers)),
        ]
        if _has_rq_exporter(options.rq_exporter):
            targets.append(
                stack.enter_context(_rq_exporter(folder, options.rq_exporter, options.peers))
            )
        for target in targets:
            target.scrape()
            target.took.clear()
        for _ in range(options.scrapes):
            for target in targets:
                target.scrape()
        found = {target.name: target.measured() for target in targets}
    lines, passed = _table(found, few, many)
    head = (
        f"{page.machine()}: {options.scrapes} interleaved scrapes of each; "
        f"{options.peers:,} jobs in Flower and in RQ; load of the machine {os.getloadavg()[1]:.1f}."
    )
    said = "\n".join([head, "", *lines])
    print(said)
    if options.page:
        page.write(PAGE, said)
    return 0 if passed else 1


def _table(found: dict[str, Measured], few: str, many: str) -> tuple[list[str], bool]:
    base = found[few]
    lines = [
        "| | series | kB | kB compressed | p50 ms | p99 ms | CPU ms | CPU µs a series | × p50 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found.values():
        peer = one.name in ("Flower", "rq-exporter")
        cells = (
            one.name if peer else f"jobmon, {one.name}",
            f"{one.series:,}",
            f"{one.bytes / 1000:,.0f}",
            f"{one.wire_bytes / 1000:,.0f}",
            f"{one.p50_seconds * 1000:.1f}",
            f"{one.p99_seconds * 1000:.1f}",
            f"{one.cpu_seconds * 1000:.1f}",
            f"{one.cpu_seconds / one.series * 1e6:.1f}",
            f"{one.p50_seconds / base.p50_seconds:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    larger = found[many]
    results = [
        (f"p99 of {base.series:,} series, ms", base.p99_seconds * 1e3, LONGEST_P99_SECONDS * 1e3),
        (f"p99 with {many}, ms", larger.p99_seconds * 1e3, LONGEST_P99_SECONDS * 1e3),
        (f"CPU with {many}, × {few}", larger.cpu_seconds / base.cpu_seconds, MOST_GROWTH),
        (f"bytes with {many}, × {few}", larger.bytes / base.bytes, MOST_GROWTH),
    ]
    lines += ["", "| target | measured | allowed | |", "|---|--:|--:|---|"]
    for name, value, allowed in results:
        verdict = "pass" if value <= allowed else "**fail**"
        lines.append(f"| {name} | {value:.2f} | {allowed:g} | {verdict} |")
    assert larger.series == base.series >= SERIES * 0.9
    return lines, all(value <= allowed for _, value, allowed in results)


if __name__ == "__main__":
    sys.exit(main())
