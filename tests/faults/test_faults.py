"""Whatever fails in jobmon, the user's jobs and commands do not notice.

Each function and method of ``jobmon.instrument`` and of the writing half of ``jobmon.store``, found
by walking the packages, is turned in turn into one that raises, that raises no ``Exception``, that
raises once its work is done, that is slow, or that never returns. Real workers, producers and
programs run beside it (hosts.py), each in a process of its own, and must show what they show
without jobmon: return values, exceptions, exit codes, all that the engine itself has stored.

Never to return is tried with all that runs on jobmon's own threads: there it talks to the state
store and to its children, and may wait. What runs in the user's threads waits for nothing but those
threads, with deadlines; a loop without end could not be pre-empted there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest

from tests.conftest import RedisServer, server_binary
from tests.faults.hosts import HOSTS
from tests.faults.targets import targets

ROOT: Final = Path(__file__).parents[2]
SHARE: Final = 1 if os.environ.get("JOBMON_SOAK") == "1" else 20
"""One case in so many is run."""
NEED_JOBMON: Final = ("commands", "tracked", "jobmon_run")
"""Hosts that call jobmon themselves: compared with themselves without a fault."""
GROUPS: Final = (
    ("celery_worker", "celery_eager", "celery_beat"),
    ("rq_forks", "rq_simple", "rq_schedulers"),
    ("jobmon_run", "commands", "tracked", "django_commands", "click_programs"),
)
"""A function's faults are tried with the first host of each group that calls it."""
AT_INSTALL: Final = ("celery_worker", "rq_forks", "click_programs")
"""Those for a function that only switching on calls."""
LONGEST_EXIT_SECONDS: Final = 10.0
"""Of which ``recorder.shutdown_timeout`` is 1."""

USERS_OWN: Final = {
    "jobmon.instrument.child_process": """
        Child.__init__ Child.run Child._wait CannotStartError.__init__ _numbers _exit_code
        _next_signal _in_foreground
    """,
    "jobmon.instrument.guard": "thrown_in note _is_of_a_signal",
    "jobmon.instrument.on_import": "_Loader.create_module _Loader.exec_module _Loader.__getattr__",
    "jobmon.instrument.commands": "command.__aenter__ command.__aexit__",
    "jobmon.instrument.tracking": """
        track Tracked.__init__ _Track.__get__ TrackableJob.perform Tracked.delay Tracked.s
        Tracked.apply_async Tracked.signature Tracked.enqueue Tracked.enqueue_in Tracked.enqueue_at
        Tracked._said Tracked._task Tracked._function _registered _itself
    """,
}
"""What does the user's own work by its very purpose, in a few lines: it starts their program,
imports their module, publishes their job, awaits their block. A fault there is a fault of that.
And what a guard does with another fault: tested in tests/instrument/test_guard.py."""

pytestmark = [pytest.mark.soak, pytest.mark.live, pytest.mark.clock, pytest.mark.timeout(900)]

Case = tuple[str, str, str]
"""Target, kind of fault, host."""


def run(server: RedisServer, cases: list[Case]) -> dict[Case, dict[str, Any]]:
    """What came of each case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.run", "--port", str(server.port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        timeout=7000,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return {tuple(result["case"]): result for result in results}


class Plan:
    """What the hosts show without a fault, and which of them call which function."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        results = run(
            server,
            [
                (*one, host)
                for host in HOSTS
                for one in (("", "bare"), ("", "none"), ("all", "count"))
            ],
        )
        self.bare = {host: results["", "bare", host]["seen"]["host"] for host in HOSTS}
        self.unhurt = {host: results["", "none", host]["seen"]["host"] for host in HOSTS}
        self.met: dict[str, dict[str, list[str]]] = {}
        for host in HOSTS:
            for moment, names in results["all", "count", host]["met"].items():
                for name in names:
                    self.met.setdefault(name, {}).setdefault(moment, []).append(host)
        self.in_users_threads = {
            name for host in HOSTS for name in results["all", "count", host]["in_users_threads"]
        }

    def cases(self, kind: str, names: list[str]) -> list[Case]:
        """The cases of a kind of fault, or a share of them that stays the same."""
        every = [(name, kind, host) for name in names for host in self.hosts(name)]
        return [case for case in every if crc32(" ".join(case).encode()) % SHARE == 0]

    def hosts(self, name: str) -> list[str]:
        """The hosts to try a function's faults with."""
        met = self.met.get(name, {})
        calling = met.get("host") or (AT_INSTALL if "instrument" in met else ())
        found = [next((host for host in group if host in calling), "") for group in GROUPS]
        return [host for host in found if host] or met.get("uninstrument", [])[:1]

    def expected(self, host: str) -> Any:
        """What a host has to show."""
        return (self.unhurt if host in NEED_JOBMON else self.bare)[host]

    def check(self, cases: list[Case]) -> None:
        """Run cases; each must show what it would show without jobmon."""
        assert cases
        wrong: list[str] = []
        missed: list[Case] = []
        for case, result in run(self.server, cases).items():
            wrong += [f"{' '.join(case)}: {why}" for why in self._wrong(case, result)]
            if not any(result.get("met", {}).values()):
                missed.append(case)
        assert not wrong, f"{len(wrong)} of {len(cases)} cases:\n" + "\n".join(wrong[:50])
        # What runs on a thread of ours may come too late on a busy machine.
        assert len(missed) < 0.1 * len(cases) + 1, missed
        print(f"{len(cases)} cases")

    def _wrong(self, case: Case, result: dict[str, Any]) -> Iterator[str]:
        if "seen" not in result:
            yield "never ended" if result["late"] else f"died: {result.get('broke', '')[-1000:]}"
            return
        expected = {"host": self.expected(case[2])}
        if case[1] != "bare":
            expected |= {key: ["returned", None] for key in ("instrument", "uninstrument")}
        yield from differences(expected, result["seen"])
        if result["exit_seconds"] > LONGEST_EXIT_SECONDS:
            yield f"took {result['exit_seconds']:.1f} s to exit"


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two observations differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from differences(expected.get(key), found.get(key), f"{where}/{key}")
    elif expected != found:
        yield f"{where}: {str(found)[:300]} instead of {str(expected)[:300]}"


@cache
def judged() -> list[str]:
    """The functions that faults are put into."""
    left_out = {f"{module}:{name}" for module, names in USERS_OWN.items() for name in names.split()}
    every = set(targets())
    assert left_out <= every, f"these are gone: {sorted(left_out - every)}"
    return sorted(every - left_out)


@pytest.fixture(scope="module")
def plan() -> Iterator[Plan]:
    binary = server_binary()
    if binary is None:
        pytest.skip("there is no server to run")
    server = RedisServer(binary)  # in which nobody else writes
    server.start()
    yield Plan(server)
    server.stop()


def test_hosts_show_the_same_with_jobmon_as_without(plan: Plan) -> None:
    for host in HOSTS:
        assert not list(differences(plan.bare[host], plan.unhurt[host])), host


def test_the_hosts_call_most_functions(plan: Plan) -> None:
    missed = [name for name in judged() if name not in plan.met]
    assert len(missed) < 0.3 * len(judged()), missed


@pytest.mark.parametrize("kind", ["exception", "after", "base"])
def test_a_function_that_raises_hurts_nobody(plan: Plan, kind: str) -> None:
    plan.check(plan.cases(kind, [name for name in judged() if name in plan.met]))


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_a_function_that_keeps_its_thread_keeps_nobody_else(plan: Plan, kind: str) -> None:
    own = [name for name in judged() if name in plan.met and name not in plan.in_users_threads]
    assert "jobmon.store.writer:Writer.apply" in own
    plan.check(plan.cases(kind, own))
