"""Another program as a child: its environment, the signals it gets, the code it ends with.

Called by ``jobmon run``. Imports the standard library only: whatever fails in the rest of
jobmon, the program runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

BOOTSTRAP: Final = Path(__file__).with_name("_bootstrap")
RUNNER_PATH_VARIABLE: Final = "JOBMON_RUNNER_PATH"
NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
SIGNALLED: Final = 128
_LENT: Final = ("jobmon", "redis", "opentelemetry", "typing_extensions")
_FORWARDED_NAMES: Final = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGWINCH",
)  # fmt: skip
_TERMINALS_OWN: Final = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGWINCH")
_RESTORED: Final = ("SIGPIPE", "SIGXFSZ")
"""Ignored by Python for itself; a program expects them as its parent's parent had them."""


class CannotStartError(Exception):
    """The program did not start. ``exit_code`` is what a shell would end with."""

    def __init__(self, program: str, error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError)
        self.exit_code = NOT_FOUND if missing else NOT_EXECUTABLE
        super().__init__(f"{program}: {error.strerror or error}")


def environment(
    inherited: Mapping[str, str], run: Mapping[str, str], runner_path: Iterable[str]
) -> dict[str, str]:
    """Environment in which a program's Python interpreters attach themselves to a run.

    Args:
        inherited: What the program would have got.
        run: Variables that name the run.
        runner_path: Folders to lend jobmon from to interpreters that lack it.
    """
    bootstrap = str(BOOTSTRAP)
    before = inherited.get("PYTHONPATH", "")
    others = [one for one in before.split(os.pathsep) if one != bootstrap] if before else []
    return {
        **inherited,
        **run,
        "PYTHONPATH": os.pathsep.join([bootstrap, *others]),
        RUNNER_PATH_VARIABLE: os.pathsep.join(runner_path),
    }


def runner_path() -> list[str]:
    """Folders of this interpreter that hold jobmon and what its hooks import."""
    found: dict[str, None] = {}
    for name in _LENT:
        spec = find_spec(name)
        if spec is None:
            continue
        places = spec.submodule_search_locations
        inside = next(iter(places), None) if places else spec.origin
        if inside:
            found[str(Path(inside).resolve().parent)] = None
    return list(found)


class Child:
    """One program. From its making on, this process's signals wait to be forwarded.

    Make it before any thread exists: a thread that does not block them would get them instead.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._mask: set[int] = set()
        self._signals = set(_numbers(_FORWARDED_NAMES))
        self._waits = hasattr(signal, "pthread_sigmask") and hasattr(os, "posix_spawnp")
        if self._waits:
            # Inherited as ignored, the kernel would throw the child's exit code away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            held_back = {*self._signals, signal.SIGCHLD}
            self._mask = {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, held_back)}

    def run(self, program: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run the program to its end, in this process's group, terminal, folder and files.

        Args:
            program: Its name, looked for on PATH, and its arguments.
            environment: All variables it gets.

        Returns:
            Its exit code, 128 + n if signal n ended it.

        Raises:
            CannotStartError: It is not there, or not executable.
        """
        try:
            if not self._waits:
                return _exit_code(subprocess.call(program, env=environment))
            self._pid = os.posix_spawnp(
                program[0],
                list(program),
                environment,
                setsigmask=self._mask,
                setsigdef=_numbers(_RESTORED),
            )
        except OSError as error:
            raise CannotStartError(program[0], error) from error
        return self._wait()

    def _wait(self) -> int:
        held_back = {*self._signals, signal.SIGCHLD}
        while True:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended:
                return _exit_code(os.waitstatus_to_exitcode(status))
            number, by_terminal = _next_signal(held_back)
            if number != signal.SIGCHLD and not by_terminal:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, number)


def signal_name(exit_code: int) -> str:
    """Name of the signal that an exit code tells of, else an empty string."""
    try:
        return signal.Signals(exit_code - SIGNALLED).name if exit_code > SIGNALLED else ""
    except ValueError:
        return ""


def _exit_code(code: int) -> int:
    return SIGNALLED - code if code < 0 else code


def _numbers(names: Iterable[str]) -> list[int]:
    return [int(getattr(signal, name)) for name in names if hasattr(signal, name)]


def _next_signal(held_back: set[int]) -> tuple[int, bool]:
    """Wait for a signal; whether the terminal sent it, which gives it to the child by itself."""
    if sys.platform != "darwin" and sys.platform != "win32":
        info = signal.sigwaitinfo(held_back)
        number, from_kernel = info.si_signo, info.si_code > 0
        return number, from_kernel and number in _numbers(_TERMINALS_OWN)
    if sys.platform != "win32":
        number = signal.sigwait(held_back)
        return number, number in _numbers(_TERMINALS_OWN) and _in_foreground()
    raise NotImplementedError


def _in_foreground() -> bool:
    if sys.platform == "win32":
        return False
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
