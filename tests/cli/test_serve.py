"""``jobmon serve`` as a process: where it listens, how it ends, what it logs."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from jobmon.model import Outcome
from tests.conftest import RedisServer
from tests.serving import PREFIX, READ, TOKENS, Recorded, Served, bearer, environment, until

pytestmark = pytest.mark.live


def test_one_line_on_stdout_tells_the_addresses(served: Served) -> None:
    expected = f"jobmon serves {served.url}{PREFIX} and {served.url}/metrics"
    assert served.headline == expected
    assert not served.url.endswith(":0")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(number: int, code: int, store: RedisServer) -> None:
    with Served(store.url) as server:
        assert server.get("stats").status_code == 200
        assert server.stop(number) == code
        assert "Traceback" not in server.log_at_end


def test_a_signal_lets_open_requests_end(own_redis_server: RedisServer) -> None:
    recorded = Recorded(own_redis_server)
    recorded.run().jobs(3, Outcome.FAILED)
    recorded.close()
    assert own_redis_server.process is not None
    answers: list[httpx.Response] = []
    sent = threading.Event()

    def trace(event: str, _info: object) -> None:
        if event == "http11.receive_response_headers.started":
            sent.set()

    def ask() -> None:
        answers.append(server.get("stats", extensions={"trace": trace}))

    with Served(own_redis_server.url) as server:
        until(lambda: server.data("stats")["total_failed"] == 3)
        own_redis_server.process.send_signal(signal.SIGSTOP)
        asking = threading.Thread(target=ask)
        asking.start()
        assert sent.wait(10)
        until(lambda: waiting_for(own_redis_server, server))
        server.process.send_signal(signal.SIGTERM)
        until(lambda: refused(server))
        own_redis_server.process.send_signal(signal.SIGCONT)
        asking.join(20)
        assert server.wait() == 143
    assert [answer.json()["data"]["total_failed"] for answer in answers] == [3]


def waiting_for(store: RedisServer, server: Served) -> bool:
    """Whether bytes of the server lie unread in the store's socket."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        time.sleep(0.5)
        return True
    local = f":{store.port:04X}"
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return any(row[1].endswith(local) and row[4].split(":")[1] != "00000000" for row in rows)


def refused(server: Served) -> bool:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_unix_socket_is_made_used_and_removed(store: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "jobmon.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with Served(store.url, "--listen", f"unix:{path}") as server:
        assert server.headline == f"jobmon serves {PREFIX} and /metrics on unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            assert client.get(f"{PREFIX}/stats").status_code == 200
        assert server.stop() == 143
    assert not path.exists()


def test_a_socket_in_use_or_a_file_is_left_alone(store: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "jobmon.sock"
    path.write_text("precious")
    ended = serve(store, f"unix:{path}")
    assert ended.returncode == 1
    assert "cannot listen on unix:" in ended.stderr
    assert path.read_text() == "precious"


def test_an_address_in_use_is_one_line_and_exit_1(served: Served, store: RedisServer) -> None:
    ended = serve(store, served.url.removeprefix("http://"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("jobmon serve: cannot listen on 127.0.0.1:")
    assert "Address already in use" in ended.stderr
    assert ended.stderr.count("\n") == 1
    unknown = serve(store, "no.such.host.invalid:1", AUTH_ALLOW_UNAUTHENTICATED="true")
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr


def serve(store: RedisServer, address: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobmon.cli.main", "serve", "--listen", address],
        env=environment(REDIS_URL=store.url, **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_structured_logs_are_json_with_the_facts_of_a_request(store: RedisServer) -> None:
    with Served(store.url, LOGGING_STRUCTURED="true", AUTH_TOKENS=TOKENS) as server:
        headers = {**bearer(READ), "X-Request-Id": "abc-123"}
        server.get("commands/%1B%5B31mnope/jobs?token=hidden", headers=headers)
        until(lambda: "abc-123" in server.logged())
        entry = [json.loads(line) for line in server.logged().splitlines()][-1]
    assert entry["logger"] == "jobmon.access"
    assert entry["level"] == "INFO"
    assert (entry["method"], entry["status"]) == ("GET", 404)
    assert entry["path"] == f"{PREFIX}/commands/\\x1b[31mnope/jobs"
    assert (entry["token"], entry["request_id"]) == ("ann", "abc-123")
    assert entry["client"] == "127.0.0.1"
    assert entry["milliseconds"] >= 0
    assert READ not in json.dumps(entry)
    assert "hidden" not in json.dumps(entry)


def test_the_level_and_the_channel_are_obeyed(store: RedisServer) -> None:
    with Served(store.url, LOGGING_LEVEL="error") as server:
        server.get("stats")
        assert server.stop() == 143
        assert server.log_at_end == ""
    with Served(store.url, LOGGING_CHANNEL="null") as server:
        server.get("stats")
        assert server.stop() == 143
        assert server.log_at_end == ""
    with Served(store.url, LOGGING_CHANNEL="stdout") as server:
        server.get("stats")
        assert server.process.stdout is not None
        lines = [server.process.stdout.readline() for _ in range(2)]
        assert "no authentication" in lines[0]
        assert "tables are now of version" in lines[1]
        while f"GET {PREFIX}/stats 200" not in lines[-1]:
            lines.append(server.process.stdout.readline())
            assert lines[-1], lines


def test_probes_and_scrapes_are_quiet_unless_asked(store: RedisServer) -> None:
    for level, seen in (("info", False), ("debug", True)):
        with Served(store.url, LOGGING_LEVEL=level) as server:
            for path in ("/livez", "/metrics", f"{PREFIX}/health", f"{PREFIX}/stats"):
                assert server.client.get(path).status_code == 200
            until(lambda: "/stats 200" in server.logged())
            for path in ("/livez", "/metrics", "/health"):
                assert (f"{path} 200" in server.logged()) is seen
