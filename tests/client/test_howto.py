"""The programs of the how-to, run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobmon.model import Outcome
from tests.filled import Filled
from tests.serving import OPERATE, Recorded, Served, environment

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs/howto/client.md"
PROGRAMS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


def said(name: str, server: Served, **settings: str) -> str:
    """What a program prints."""
    program = PROGRAMS[name].replace("http://127.0.0.1:8765", server.url).replace("jmo_…", OPERATE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def server(history: Filled, recorded: Recorded) -> Iterator[Served]:
    with Served(recorded.settings.redis.url, DATABASE_URL=history.url) as server:
        yield server


def test_every_program_is_run() -> None:
    assert set(PROGRAMS) == {"overview", "again", "records", "together", "inside"}


def test_what_they_say(history: Filled, recorded: Recorded, server: Served) -> None:
    history.jobs(3)
    broken = {"error": {"class": "TimeoutError", "message": "slow", "frames": []}}
    (failed,) = history.jobs(1, "failed", **broken)
    run = recorded.run()
    run.jobs(2, Outcome.COMPLETED)
    run.jobs(1, queue="mail")
    overview = said("overview", server).splitlines()
    assert overview[0] == "4 jobs, 75.0 % of them well"
    assert "mail 1 0 0" in overview[1:]
    assert said("records", server) == "1 runs\ndata:process 2 of 3\n"
    assert f"data:process {failed} 0.42" in said("together", server).splitlines()
    assert re.fullmatch(rf"{failed} Could not retry job \[\d+\]\..*\n", said("again", server))
    assert said("inside", server, REDIS_URL=recorded.settings.redis.url) == "0 workers\n"
