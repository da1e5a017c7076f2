"""RQ's and Celery's own test suites, run with and without jobmon in every process.

Run by ``test_suites.py``. The suites come from the source distributions of the versions that
are installed here; what they need beyond that is not installed, and left out both ways.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.conftest import RedisServer

ROOT: Final = Path(__file__).parents[2]
SITE: Final = Path(__file__).parent / "site"
DOWNLOADS: Final = ROOT / ".venv" / "compat"
RERUNS: Final = 3
WORST_LAST: Final = ("passed", "xfailed", "skipped", "failed")

Outcomes = Mapping[str, str]
"""How each test ended, by its node id."""


@dataclass(frozen=True)
class Suite:
    """The tests of one engine."""

    package: str
    folder: str
    options: tuple[str, ...]
    some: tuple[str, ...]
    """Files that stand for all where there is no time."""
    by_design: tuple[str, ...] = ()
    """Tests that must end differently."""

    @property
    def release(self) -> str:
        """Name and installed version."""
        return f"{self.package}-{version(self.package)}"


SUITES: Final = (
    Suite(
        "rq",
        "tests",
        (),
        ("tests/test_job.py", "tests/test_callbacks.py", "tests/test_decorator.py"),
        # They compare all fields of a job's hash, of which one is jobmon's.
        by_design=(
            "tests/test_job.py::TestJob::test_custom_meta_is_rewriten_by_save_meta",
            "tests/test_job.py::TestJob::test_persistence_of_typical_jobs",
        ),
    ),
    Suite(
        "celery",
        "t/unit",
        ("-p", "celery.contrib.pytest"),
        (
            *("t/unit/tasks/test_trace.py", "t/unit/worker/test_request.py"),
            *("t/unit/app/test_amqp.py", "t/unit/app/test_beat.py"),
        ),
    ),
)


def unpack(suite: Suite, folder: Path) -> Path:
    """The release's source, downloaded once."""
    archive = DOWNLOADS / f"{suite.release}.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-binary", suite.package]
        command += ["--dest", str(DOWNLOADS), suite.release.replace("-", "==")]
        subprocess.run(command, check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    source = folder / suite.release
    # The installed release is what is tested; its second copy here would be imported first.
    (source / suite.package).rename(source / f"{suite.package}-unused")
    return source


class Runner:
    """Runs tests of one unpacked suite, each time on an empty server."""

    def __init__(self, suite: Suite, source: Path, server: RedisServer) -> None:
        self._suite, self._source, self._server = suite, source, server
        for path in (source / suite.folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "127.0.0.1:6379" in text:
                path.write_text(text.replace("127.0.0.1:6379", f"127.0.0.1:{server.port}"))

    def run(self, tests: Sequence[str], *, jobmon: bool) -> Outcomes:
        """How these tests (files, node ids) end."""
        with self._server.client() as client:
            client.flushall()
        way = "with" if jobmon else "without"
        told, log = self._source / f"outcomes-{way}.jsonl", self._source / f"log-{way}.txt"
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join((str(SITE), str(self._source))),
            "COMPAT_OUTCOMES": str(told),
            "JOB_MONITOR_REDIS_URL": f"redis://127.0.0.1:{self._server.port}/20",
        }
        environ.pop("COMPAT_JOBMON", None)
        if jobmon:
            environ["COMPAT_JOBMON"] = "1"
        if self._suite.package == "rq":
            environ["COMPAT_REDIS_PORT"] = str(self._server.port)
        told.write_bytes(b"")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", "--timeout", "600"]
        command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
        with log.open("a") as output:
            subprocess.run(
                [*command, *self._suite.options, *tests],
                cwd=self._source,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=3600,
                start_new_session=True,
                check=False,
            )
        outcomes: dict[str, str] = {}
        for line in told.read_text(encoding="utf-8").splitlines():
            test, outcome = json.loads(line)
            outcomes[test] = max(outcomes.get(test, "passed"), outcome, key=WORST_LAST.index)
        return outcomes


@dataclass(frozen=True)
class Comparison:
    """How a suite ended both ways."""

    without: Outcomes
    loaded: Outcomes
    unstable: list[str]
    """Differed at first, and not again."""
    different: list[str]
    """Differ every time."""


def compare(runner: Runner, tests: Sequence[str], by_design: Sequence[str]) -> Comparison:
    """Run tests both ways; what differs but by design, again."""
    without, loaded = (runner.run(tests, jobmon=way) for way in (False, True))
    first = different = differing(without, loaded)
    for _ in range(RERUNS):
        if not set(different) <= set(by_design):
            again = (runner.run(different, jobmon=way) for way in (False, True))
            different = [test for test in differing(*again) if test in different]
    unstable = [test for test in first if test not in different]
    return Comparison(without, loaded, unstable, different)


def differing(one: Outcomes, other: Outcomes) -> list[str]:
    """Tests that did not end the same way."""
    return sorted(test for test in {*one, *other} if one.get(test) != other.get(test))
