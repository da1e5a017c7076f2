"""What ``rq cron`` reads: one entry for each function named by the environment."""

from __future__ import annotations

import os
import time
from typing import Any

from rq import cron

from tests.live.apps import rq_jobs


class Blocking:
    """Takes as long to write down as somebody says."""

    def __reduce__(self) -> Any:
        while rq_jobs.signals.exists("stand-still"):
            rq_jobs.signals.set("stands-still", os.getpid())
            time.sleep(0.02)
        return int, ()


ARGUMENTS: dict[str, tuple[Any, ...]] = {"add": (1, 2), "fail": ("no",)}
for name in filter(None, os.environ.get("TEST_ENTRIES", "add").split(",")):
    cron.register(getattr(rq_jobs, name), "work", args=ARGUMENTS.get(name, ()), interval=1)
if "TEST_BLOCKS" in os.environ:
    cron.register(rq_jobs.add, "nowhere", args=(Blocking(),), interval=1)
