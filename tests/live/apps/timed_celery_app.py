"""The application of the live tests, with the time that each job takes, all hooks included."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import task_postrun, task_prerun

_began: dict[str, float] = {}


@task_prerun.connect(weak=False)
def _first(task_id: str, **_: Any) -> None:
    _began[task_id] = time.perf_counter()


from tests.live.apps.celery_app import *  # noqa: E402, F403
from tests.live.apps.celery_app import app, signals  # noqa: E402


@task_postrun.connect(weak=False)
def _last(task_id: str, **_: Any) -> None:
    signals.set(task_id, time.perf_counter() - _began.pop(task_id), ex=600)


__all__ = ["app"]
