"""An RQ worker that says how long each job takes in its horse, all hooks included."""

from __future__ import annotations

import time
from typing import Any

from rq.worker import Worker

from tests.live.apps.rq_jobs import signals


class TimedWorker(Worker):
    """Its timer belongs to the instance, so that it is outside of what wraps the class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.perform_job = self._perform_job  # type: ignore[method-assign]

    def _perform_job(self, job: Any, *arguments: Any) -> bool:
        began = time.perf_counter()
        try:
            return type(self).perform_job(self, job, *arguments)
        finally:
            signals.set(job.id, time.perf_counter() - began, ex=600)
