"""The demo's RQ jobs."""

from __future__ import annotations

import os
from typing import Any

from redis import Redis
from rq import Queue

from jobmon.demo import corpus

QUEUE = "archive"


def queue() -> Any:
    """The :class:`rq.Queue` that the demo's RQ worker works on."""
    connection: Any = Redis
    return Queue(QUEUE, connection=connection.from_url(os.environ["JOBMON_DEMO_BROKER_URL"]))


def compress_package(package: str) -> dict[str, object]:
    """Gzip one package."""
    return corpus.compress(package)


def read_module(module: str) -> str:
    """Count the words of one module and hand them to a Celery task."""
    from jobmon.demo.celery_app import file_vocabulary

    file_vocabulary.delay(module, corpus.vocabulary(module))
    return module
