"""A real Prometheus and a real Alertmanager, and what receives the latter's notifications."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest


def binary(name: str) -> str:
    """Where a program is; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Program:
    """A server that is started with a configuration and answers at a port of its own."""

    def __init__(self, folder: Path, command: Sequence[str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        self._command = command
        self._begin()

    def _begin(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def get(self, path: str, **parameters: str) -> Any:
        """What it answers, decoded; None while it does not, or not with 200."""
        try:
            answer = httpx.get(f"{self.url}{path}", params=parameters, trust_env=False)
        except httpx.TransportError:
            assert self._process.poll() is None, self._log.read_text()
            return None
        return answer.json() if answer.status_code == 200 else None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def restart(self) -> None:
        self.stop()
        self._begin()


class Prometheus(_Program):
    """One Prometheus and its query API."""

    def __init__(self, folder: Path, config: str, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        port = free_port()
        path = folder / "prometheus.yml"
        path.write_text(config)
        super().__init__(
            folder,
            [
                *(binary("prometheus"), f"--config.file={path}"),
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *options,
            ],
            port,
        )

    def samples(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every sample of an instant query; none while it does not answer."""
        answer = self.get("/api/v1/query", query=query)
        found = answer["data"]["result"] if answer else []
        return [(one["metric"], float(one["value"][1])) for one in found]

    def value(self, query: str) -> float | None:
        """The only sample of an instant query, None while there is none."""
        found = self.samples(query)
        assert len(found) < 2, found
        return found[0][1] if found else None


class Alertmanager(_Program):
    """One Alertmanager, which knows no other."""

    def __init__(self, folder: Path, config: str) -> None:
        folder.mkdir(exist_ok=True)
        port = free_port()
        path = folder / "alertmanager.yml"
        path.write_text(config)
        super().__init__(
            folder,
            [
                *(binary("prometheus-alertmanager"), f"--config.file={path}"),
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            port,
        )


class Receiver:
    """What Alertmanager's webhook is told: the newest status of each alert, by its labels."""

    def __init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.told(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._lock = threading.Lock()
        self._alerts: list[dict[str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def told(self, alerts: list[dict[str, Any]]) -> None:
        with self._lock:
            self._alerts += alerts

    def alerts(self) -> list[dict[str, Any]]:
        """All that was told, in its order."""
        with self._lock:
            return list(self._alerts)

    def by_status(self, status: str) -> list[dict[str, str]]:
        """Labels of the alerts that were last told as ``firing`` or ``resolved``."""
        newest = {json.dumps(one["labels"], sort_keys=True): one for one in self.alerts()}
        return [one["labels"] for one in newest.values() if one["status"] == status]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running(*programs: _Program | Receiver) -> Iterator[None]:
    """Ends them, whatever happens."""
    try:
        yield
    finally:
        for one in programs:
            one.close() if isinstance(one, Receiver) else one.stop()
